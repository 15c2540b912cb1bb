"""What `python -m data.prepare` refuses and says.

Real preparing takes minutes and TensorFlow: it is `.ci/run`'s, before the tests, which then read its outcome.
"""

import json
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from data import debian_files, prepare, prepare_environment
from experiment.environment import ROOT


def run(capsys, *arguments):
    status = prepare.main(list(arguments))
    streams = capsys.readouterr()
    return status, streams.out.strip(), streams.err.strip()


@pytest.fixture
def no_environment(monkeypatch):
    """For what must be told before anything is installed."""

    def refuse():
        raise AssertionError('it went on to the environment')

    monkeypatch.setattr(prepare_environment, 'python_with_tensorflow', refuse)


@pytest.fixture
def fake_python(monkeypatch, tmp_path):
    """Stands for the environment's Python: a program that writes a given report, talks, and exits with a status."""

    def install(report, status=1, talk='talking'):
        program = tmp_path / 'python'
        (tmp_path / 'wanted.json').write_text(json.dumps(report))
        copy = f'cp {tmp_path}/wanted.json "${{argument#--report=}}"' if report else 'true'
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho {talk}\n'
            f'for argument; do case $argument in --report=*) {copy};; esac; done\nexit {status}\n'
        )
        program.chmod(0o755)
        monkeypatch.setattr(prepare_environment, 'python_with_tensorflow', lambda: program)
        return tmp_path / 'arguments'

    return install


@pytest.mark.usefixtures('no_environment')
@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['fashion_mnst'], ['fashion_mnst', 'near it: fashion_mnist']),
        (['zzzzzzzz'], ['zzzzzzzz is not a dataset of TFDS', 'catalog']),
        (['no such thing!'], ['no such thing! is not a dataset of TFDS']),
        (['cifar10', '--from_debian'], ['--from_debian', 'fashion_mnist only', 'cifar10']),
        (['fashion_mnist', '--from_debian', '--manual_dir=.'], ['--from_debian and --manual_dir']),
        (['cifar10', '--manual_dir=/no/such/folder'], ['--manual_dir=/no/such/folder is not a folder']),
    ],
)
def test_refused_in_one_line_before_anything_is_installed(capsys, tmp_path, arguments, words):
    status, output, errors = run(capsys, *arguments, f'--data_dir={tmp_path}')
    assert (status, output) == (2, '')
    assert len(errors.splitlines()) == 1
    for word in words:
        assert word in errors
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures('no_environment')
@pytest.mark.parametrize(('below', 'why'), [('', 'File exists'), ('x', 'Not a directory')])
def test_a_data_dir_that_cannot_be_is_refused_before_anything_is_installed(capsys, tmp_path, below, why):
    (tmp_path / 'file').write_text('in the way')
    status, output, errors = run(capsys, 'cifar10', f'--data_dir={tmp_path / "file" / below}')
    assert (status, output, len(errors.splitlines())) == (2, '', 1)
    assert f'cannot be written to {tmp_path / "file" / below} ({why}); another --data_dir would do' in errors


@pytest.mark.usefixtures('no_environment')
def test_missing_package_gives_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(debian_files, 'FOLDER', tmp_path / 'none')
    status, _, errors = run(capsys, 'fashion_mnist', '--from_debian', f'--data_dir={tmp_path}')
    assert status == 2
    assert errors.splitlines() == [f'error: {tmp_path}/none is missing: apt-get install dataset-fashion-mnist']


@pytest.mark.usefixtures('no_environment')
def test_what_needs_no_preparation_says_so(capsys, tmp_path):
    class Writer(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = 'cifar10'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            features = tfds.features.FeaturesDict({'label': tfds.features.ClassLabel(num_classes=10)})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {'train': self._generate_examples(12), 'test': self._generate_examples(5)}

        def _generate_examples(self, count):
            yield from ((row, {'label': row % 10}) for row in range(count))

    Writer(data_dir=tmp_path, file_format='array_record').download_and_prepare()
    capsys.readouterr()
    status, output, errors = run(capsys, 'cifar10', f'--data_dir={tmp_path}')
    assert (status, errors) == (0, '')
    assert output == f'cifar10 is already prepared in {tmp_path}/cifar10/1.0.0: 12 train, 5 test examples'
    assert run(capsys, 'digits') == (0, 'digits needs no preparation', '')


def test_data_dir_comes_from_the_environment_and_what_was_made_is_told(capsys, tmp_path, monkeypatch, fake_python):
    arguments = fake_python({'ok': {'folder': '/made/here', 'splits': {'train': 50_000, 'test': 10_000}}}, status=0)
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'there'))
    status, output, errors = run(capsys, 'cifar10')
    assert status == 0
    assert output == 'prepared cifar10 in /made/here: 50,000 train, 10,000 test examples'
    assert 'talking' not in errors
    assert f' cifar10 --data_dir={tmp_path}/there --report=' in arguments.read_text()
    assert '--manual_dir' not in arguments.read_text()


@pytest.mark.parametrize(
    ('kind', 'status', 'words'),
    [
        ('download', 2, ['could not download cifar10', '--manual_dir=DIR']),
        ('manual', 2, ['needs files that TFDS may not download', '--manual_dir=DIR']),
        ('checksum', 2, ['not the published one']),
        ('name', 2, ['TFDS has no cifar10']),
        ('other', 1, ['could not prepare cifar10', 'talking']),
    ],
)
def test_failure_of_the_builder_is_told_by_whose_it_is(capsys, tmp_path, fake_python, kind, status, words):
    fake_python({'error': {'kind': kind, 'message': 'the\n   reason'}})
    found, output, errors = run(capsys, 'cifar10', f'--data_dir={tmp_path}')
    errors = errors.partition('error: ')[2]
    assert (found, output) == (status, '')
    assert '(the reason)' in errors
    assert all(word in errors for word in words)
    assert len(errors.splitlines()) == 1 or kind == 'other'


def test_builder_that_dies_leaves_its_last_words(capsys, tmp_path, fake_python):
    fake_python(None, status=137, talk='out of memory')
    status, _, errors = run(capsys, 'cifar10', f'--data_dir={tmp_path}')
    assert status == 1
    assert errors.endswith('error: could not prepare cifar10\nout of memory')


def test_command_line_from_a_shell(tmp_path):
    command = [sys.executable, '-m', 'data.prepare', 'cifar1O', f'--data_dir={tmp_path}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith('error: cifar1O is not a dataset of TFDS; near it: cifar10')
    assert (done.stdout, len(done.stderr.splitlines())) == ('', 1)
