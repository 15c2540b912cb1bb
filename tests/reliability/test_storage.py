"""A full disk ends a run with one line, and what was saved stays good."""

import contextlib
import os
import resource
import subprocess

import numpy as np
import pytest

from files.checksums import check
from tests.data.prepared import pairs, random_images, write
from tests.reliability.runs import SMALL, assert_same_end, finish, start, wait_until
from training.saving import checkpoints

SIZE = 6 * 2**20  # bytes


@pytest.fixture
def small_disk(tmp_path):
    """A file system of `SIZE`; None where none can be mounted, for want of the right."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    options = f'size={SIZE}'
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder], capture_output=True)
    yield folder if done.returncode == 0 else None
    if done.returncode == 0:
        subprocess.run(['umount', '--lazy', folder], check=True)


def fill(folder):
    """Takes all the space that is left."""
    with contextlib.suppress(OSError), (folder / 'filler').open('wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))


def told(err):
    """The one line that tells of it; the libraries say nothing beside it."""
    (last,) = [line for line in err.splitlines() if line.startswith(('train.py: ', 'sweep.py: '))]
    assert 'Traceback' not in err, err
    assert 'Error' not in err, err
    return last


@pytest.mark.parametrize('tensorboard', [True, False])
def test_a_disk_that_fills_up(small_disk, tmp_path, tensorboard):
    if small_disk is None:
        pytest.skip('mounting a file system needs root; the test below has the same errors from a limit')
    workdir, settings = small_disk / 'x', (*SMALL, f'--config.log.tensorboard={tensorboard}')
    process = start('train.py', workdir, *settings)
    assert wait_until(process, lambda: checkpoints.latest_step(workdir))
    fill(small_disk)
    code, _, err = finish(process)
    assert code == 1, err
    assert 'No space left on device' in told(err)
    assert err.rstrip().endswith(told(err))
    assert not (workdir / 'result.json').exists()
    for step in checkpoints.steps(workdir):
        check(workdir / 'checkpoints' / str(step))  # what is listed is good
    assert checkpoints.latest_step(workdir) > 0
    (small_disk / 'filler').unlink()
    code, _, err = finish(start('train.py', workdir, *settings))
    assert code == 0, err
    assert finish(start('train.py', tmp_path / 'whole', *settings))[0] == 0
    assert_same_end(tmp_path / 'whole', workdir)


def test_a_sweep_on_a_disk_that_fills_up(small_disk):
    """Its processes end each other: none may die with what another waits for."""
    if small_disk is None:
        pytest.skip('mounting a file system needs root')
    workdir = small_disk / 'x'
    process = start('sweep.py', workdir, '--config=configs/demo.py')
    assert wait_until(process, lambda: len([*workdir.glob('*/checkpoints/*/SHA256SUMS')]) > 1)
    fill(small_disk)
    code, _, err = finish(process)
    assert code == 1, err
    assert 'No space left on device' in told(err)
    for run in workdir.glob('*/checkpoints'):
        for step in checkpoints.steps(run.parent):
            check(run / str(step))


def test_a_disk_without_room_for_decoded_images_that_memory_should_not_hold(small_disk, tmp_path):
    if small_disk is None:
        pytest.skip('mounting a file system needs root; ../data/test_cache.py has the same errors from a stub')
    examples = pairs(random_images(20, (8, 8, 1)), np.arange(20) % 10)
    write(small_disk, 'few', {'train': examples, 'test': examples}, shape=(8, 8, 1))
    size = 8192  # 2.5 GiB of pixels, of which neither disk nor memory ever sees one
    settings = (f'--config.data.dir={small_disk}', '--config.data.name=few', f'--config.data.image_size={size}')
    few = ('--config.model.patch_size=512', '--config.train.batch_size=4', '--config.train.eval_batch_size=4')
    code, _, err = finish(start('train.py', tmp_path / 'x', *SMALL, *settings, *few))
    assert code == 1, err
    assert f'{40 * size**2 + 40 * 4:,} bytes in {small_disk}/few/' in told(err)
    assert 'No space left on device' in told(err)
    assert 'free space there or another data.dir or a smaller data.image_size would do' in told(err)
    assert not (tmp_path / 'x').exists()


def test_files_that_cannot_grow(tmp_path):
    """The same path through the system's limit on a file's size, which needs no right."""
    workdir = tmp_path / 'x'
    process = start('train.py', workdir, *SMALL)
    assert wait_until(process, lambda: checkpoints.latest_step(workdir))
    limit = (workdir / 'metrics.jsonl').stat().st_size + 500
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    code, _, err = finish(process)
    assert code == 1, err
    assert f'{workdir}/' in told(err)
    assert 'File too large' in told(err)
    for step in checkpoints.steps(workdir):
        check(workdir / 'checkpoints' / str(step))


def test_a_folder_that_becomes_read_only(tmp_path):
    if os.geteuid() == 0:
        pytest.skip('root writes to any folder')
    workdir = tmp_path / 'x'
    process = start('train.py', workdir, *SMALL)
    assert wait_until(process, lambda: checkpoints.latest_step(workdir))
    (workdir / 'checkpoints').chmod(0o500)
    code, _, err = finish(process)
    (workdir / 'checkpoints').chmod(0o700)
    assert code == 1
    assert 'could not be written' in err
