"""A run that is killed at any moment goes on, by the same command, to the end that it would have come to."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from machine import limits
from machine.cores import cores_allowed
from tests.reliability.runs import (
    SMALL,
    STEPS,
    assert_same_end,
    finish,
    killed_in,
    newest_row,
    start,
    stop_when,
    wait_until,
)
from training.saving.checkpoints import latest_step
from training.strategy import can_share

# Each list is the life of one run: where it is killed, again and again, before it is left alone. 20 kills.
LIVES = [
    ['compiling', 'stepping', 'saving', 'saving', 'finishing'],
    ['saving', 'stepping', 'compiling', 'stepping', 'finishing'],
    ['stepping', 'saving', 'compiling', 'saving', 'finishing'],
    ['saving', 'saving', 'stepping', 'stepping', 'finishing'],
]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The run that nothing happens to."""
    workdir = tmp_path_factory.mktemp('whole') / 'x'
    code, _, err = finish(start('train.py', workdir, *SMALL))
    assert code == 0, err
    return workdir


@pytest.mark.parametrize('life', range(len(LIVES)))
def test_a_run_killed_at_any_moment_comes_to_the_same_end(whole, tmp_path, life):
    workdir, chance, killed = tmp_path / 'x', random.Random(life), 0
    for phase in LIVES[life]:
        longest = {'compiling': 2.0, 'stepping': 0.3}.get(phase, 0.02)
        killed += killed_in(phase, workdir, chance.uniform(0, longest))
    assert killed >= len(LIVES[life]) - 1  # 'finishing' may be over before it is seen; then there is a result
    code, _, err = finish(start('train.py', workdir, *SMALL))
    assert code == 0, err
    assert 'Traceback' not in err
    assert_same_end(whole, workdir)


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_says_so_and_is_the_exit_status(whole, tmp_path, signum):
    workdir = tmp_path / 'x'
    process = start('train.py', workdir, *SMALL)
    assert stop_when(process, lambda: newest_row(workdir) >= 50, signum)
    code, _, err = finish(process)
    assert code == 128 + signum
    step = latest_step(workdir)
    assert f'interrupted by {signal.Signals(signum).name}; saved at step {step:,} of {STEPS}' in err
    assert 'Traceback' not in err
    assert not (workdir / 'result.json').exists()
    code, _, err = finish(start('train.py', workdir, *SMALL))
    assert code == 0, err
    assert_same_end(whole, workdir)


def helpers(process):
    """The processes that compute shares of the batches of a command's run."""
    path = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    started = path.read_text().split() if path.exists() else []
    return [int(pid) for pid in started if 'training.sharing.teammate' in command_line(pid)]


def command_line(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_text()
    except OSError:
        return ''


@pytest.mark.skipif(
    not can_share() or min(len(cores_allowed()), limits.processors()) < 2, reason='takes Linux, and a core each'
)
def test_a_run_whose_batches_processes_share_loses_nothing_with_any_of_them(tmp_path):
    """The command is signalled with all that it started, as a scheduler does, then killed; a helper is killed."""
    shared = *SMALL, '--config.train.shares=2'
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    code, _, err = finish(start('train.py', whole, *shared))
    assert code == 0, err
    assert json.loads((whole / 'result.json').read_text())['shares'] == 2

    process = start('train.py', cut, *shared)
    assert wait_until(process, lambda: newest_row(cut) >= 50)
    for pid in (*helpers(process), process.pid):
        os.kill(pid, signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 128 + signal.SIGTERM, err
    assert f'saved at step {latest_step(cut):,} of {STEPS}' in err

    process = start('train.py', cut, *shared)
    assert wait_until(process, lambda: newest_row(cut) >= 120)
    started = helpers(process)
    assert len(started) == 2
    process.kill()
    process.communicate(timeout=60)
    until = time.monotonic() + 30
    while any(map(command_line, started)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(command_line, started))

    process = start('train.py', cut, *shared)
    assert wait_until(process, lambda: newest_row(cut) >= 200)
    os.kill(helpers(process)[1], signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 1
    assert 'out of memory (the process of share 2 of 2 of a batch ended with status -9)' in err
    assert 'Traceback' not in err

    code, _, err = finish(start('train.py', cut, *shared))
    assert code == 0, err
    assert_same_end(whole, cut)


SWEEP = """
from configs import digits


def get_config(variant=''):
    config = digits.get_config()
    config.model.embed_dim, config.model.depth, config.model.dropout = 16, 1, 0.1
    config.train.steps, config.train.batch_size, config.log.every, config.checkpoint.count = 420, 32, 7, 12
    config.log.tensorboard = False
    return config


def sweep():
    return [
        {'arm': mixer, 'model.mixer': mixer, 'seed': seed}
        for mixer, seeds in (('attention', 3), ('identity', 1))
        for seed in range(seeds)
    ]
"""


def test_a_killed_sweep_goes_on_in_the_populations_that_it_had(tmp_path):
    """Two processes, one with a population of three; killed, and then as if killed between the results of those."""
    config, runs = tmp_path / 'mine.py', {name: tmp_path / name for name in ('whole', 'cut')}
    config.write_text(SWEEP)
    arguments = f'--config={config}', '--workers=2', '--together=4'
    code, _, err = finish(start('sweep.py', runs['whole'], *arguments))
    assert code == 0, err
    process = start('sweep.py', runs['cut'], *arguments)
    assert stop_when(process, lambda: max(map(newest_row, runs['cut'].glob('*/')), default=0) > 150)
    process.communicate()
    code, _, err = finish(start('sweep.py', runs['cut'], *arguments))
    assert code == 0, err
    (population,) = {path.read_text() for path in runs['cut'].glob('*/population.json')}
    names = json.loads(population)['runs']
    assert len(names) == 3
    (runs['cut'] / names[1] / 'result.json').unlink()
    code, _, err = finish(start('sweep.py', runs['cut'], *arguments))
    assert code == 0, err
    for folder in runs['whole'].glob('*/'):
        assert_same_end(folder, runs['cut'] / folder.name)


UNEVEN = """
from configs import digits


def get_config():
    config = digits.get_config('tiny')
    config.model.embed_dim, config.model.depth, config.train.batch_size = 8, 1, 8
    config.log.every, config.checkpoint.count = 20, 1
    return config


def sweep():
    return [{'arm': 'short', 'train.steps': 100}, {'arm': 'long', 'train.steps': 400_000}]
"""


@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_one_of_whose_processes_has_nothing_left_to_do_ends_when_it_is_told_to(tmp_path, signum):
    """It waits for work with a lock in hand, and the other must save in peace."""
    config, workdir = tmp_path / 'uneven.py', tmp_path / 'runs'
    config.write_text(UNEVEN)
    process = start('sweep.py', workdir, f'--config={config}', '--workers=2')
    assert wait_until(process, lambda: [*workdir.glob('*/result.json')])
    (short,) = (path.parent for path in workdir.glob('*/result.json'))
    (long,) = {path.parent for path in workdir.glob('*/config.json')} - {short}
    assert wait_until(process, lambda: newest_row(long))
    process.send_signal(signum)
    code, _, err = finish(process)
    assert code == 128 + signum, err
    assert 'every run under way is saved' in err
    assert latest_step(long) >= newest_row(long) > 0


def test_a_run_whose_progress_nobody_reads_goes_on(tmp_path):
    process = start('train.py', tmp_path / 'x', *SMALL)
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    assert (tmp_path / 'x' / 'result.json').exists()
