"""Which Python `make setup` makes `.venv` with, and when it makes it anew.

Pythons are scripts that tell a version, and make only says what it would run: to install takes a minute each time.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from experiment.environment import ROOT

MADE = '.tools/bin/uv venv'


@pytest.fixture
def folder(tmp_path):
    """A checkout with uv, a `python3` of version 3.11, and a `.venv` that was made with 3.12."""
    shutil.copy(ROOT / 'Makefile', tmp_path)
    shutil.copy(ROOT / 'requirements.txt', tmp_path)
    _python(tmp_path / '.tools' / 'bin' / 'uv', '')
    _python(tmp_path / 'python3', '3.11')
    _python(tmp_path / 'bin of mine' / 'python', '3.13')
    _python(tmp_path / '.venv' / 'bin' / 'python', '3.12')
    (tmp_path / '.venv' / '.installed-cpu').touch()
    return tmp_path


def _python(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {version}\n')
    path.chmod(0o755)


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ('PYTHON', 'MAKEFLAGS')}
    environment['PATH'] = f'{folder}{os.pathsep}{environment["PATH"]}'
    return subprocess.run(
        ['make', '-C', str(folder), *arguments], capture_output=True, text=True, env=environment, timeout=60
    )


def test_an_environment_that_is_there_stays_unless_another_version_is_asked_for(folder):
    assert MADE not in _make(folder, '-n', 'setup').stdout
    assert MADE not in _make(folder, '-n', 'setup', f'PYTHON={folder}/.venv/bin/python').stdout
    assert f'{MADE} --quiet --clear --no-python-downloads --python "python3" .venv' in (
        _make(folder, '-n', 'setup', 'PYTHON=python3').stdout
    )
    assert '--python "bin of mine/python" .venv' in _make(folder, '-n', 'setup', 'PYTHON=bin of mine/python').stdout


def test_it_is_made_anew_where_the_lock_has_changed_with_the_version_that_it_has(folder):
    stamp = folder / '.venv' / '.installed-cpu'
    os.utime(folder / 'requirements.txt', (stamp.stat().st_atime, stamp.stat().st_mtime + 1))
    assert '--python ".venv/bin/python" .venv' in _make(folder, '-n', 'setup').stdout


def test_it_is_made_anew_where_its_python_has_gone(folder):
    python = folder / '.venv' / 'bin' / 'python'
    python.unlink()
    python.symlink_to('/nowhere/python3')
    assert '--python "python3" .venv' in _make(folder, '-n', 'setup').stdout


@pytest.mark.parametrize('version', ['3.10', '3.14'])
def test_a_python_that_no_lock_is_for_is_refused_before_anything_is_removed(version, folder):
    _python(folder / 'other', version)
    done = _make(folder, 'setup', 'PYTHON=./other')
    assert done.returncode == 2
    assert f'Python 3.11 to 3.13; ./other is {version}' in done.stderr
    assert (folder / '.venv' / '.installed-cpu').exists()


def test_a_python_that_is_not_there_is_said_not_to_be(folder):
    done = _make(folder, 'setup', 'PYTHON=python9')
    assert done.returncode == 2
    assert 'python9 is not there' in done.stderr
