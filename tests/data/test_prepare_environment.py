"""The environment that has TensorFlow is made whole, and once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from data import prepare, prepare_environment


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An environment with nothing in it, from a lock with nothing in it."""
    monkeypatch.setattr(prepare_environment, 'ENVIRONMENT', tmp_path / '.venv-prepare')
    monkeypatch.setattr(prepare_environment, 'LOCKFILE', tmp_path / 'prepare.txt')
    prepare_environment.LOCKFILE.write_text('# nothing\n')
    return tmp_path / '.venv-prepare'


def test_environment_is_made_once_and_again_when_the_lock_changed(environment, capsys):
    python = prepare_environment.python_with_tensorflow()
    assert subprocess.run([python, '-c', 'print(1)'], capture_output=True, check=True).stdout == b'1\n'
    mark = environment / 'mark'
    mark.touch()
    assert prepare_environment.python_with_tensorflow() == python
    assert mark.exists()
    prepare_environment.LOCKFILE.write_text('# nothing else\n')
    assert prepare_environment.python_with_tensorflow() == python
    assert not mark.exists()
    assert capsys.readouterr().err.count('making') == 2


def test_environment_that_failed_is_not_taken_for_whole(environment, capsys, tmp_path):
    prepare_environment.LOCKFILE.write_text(f'{tmp_path}/no-such-package\n')
    for _ in range(2):
        assert prepare.main(['cifar10', f'--data_dir={tmp_path}']) == 1
        assert f'could not make {environment}' in capsys.readouterr().err


def test_uv_of_the_path_or_pip_stand_in(environment, monkeypatch, tmp_path):
    monkeypatch.setattr(prepare_environment, 'ROOT', tmp_path)
    monkeypatch.setattr(shutil, 'which', lambda name: f'/somewhere/{name}')
    assert {command[0] for command in prepare_environment._commands(Path('python'))} == {'/somewhere/uv'}
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    make, install = prepare_environment._commands(Path('python'))
    assert make[1:] == ['-m', 'venv', str(environment)]
    assert install[1:4] == ['-m', 'pip', 'install']
    assert os.path.basename(make[0]).startswith('python')
