"""A run that `train.py` trained."""

import pytest

from tests.commands.typed import SMALL, command


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('runs') / 'x'
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={workdir}', '--profile', *SMALL)
    assert code == 0, err
    return workdir, out, err
