import contextlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from machine import cores

HAVE = [3, 5, 6, 7, 20, 21, 22, 40]


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch):
    monkeypatch.setenv(cores.THREADS, '')  # so that what a test leaves there is undone
    monkeypatch.delenv(cores.THREADS)


@pytest.fixture
def pinned(monkeypatch):
    """What this process is pinned to, of the cores that it has."""
    to = []
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(to[-1] if to else HAVE), raising=False)
    monkeypatch.setattr(os, 'sched_setaffinity', lambda _, some: to.append(list(some)), raising=False)
    return to


@pytest.mark.parametrize(('count', 'workers'), [(1, 3), (2, 2), (2, 3), (4, 2), (4, 3), (7, 3), (8, 1)])
def test_every_worker_has_as_many_cores_and_no_more_stay_idle_than_that_takes(count, workers):
    shares = cores.core_shares(list(range(count)), workers)
    assert len(shares) == workers
    assert {len(share) for share in shares} == {max(1, count // workers)}
    given = [core for share in shares for core in share]
    assert set(given) <= set(range(count))
    if workers <= count:
        assert len(set(given)) == len(given) == count - count % workers
    else:
        assert set(given) == set(range(count))


def test_a_process_is_pinned_to_its_cores(pinned):
    cores.keep_to([5, 7])
    assert pinned == [[5, 7]]
    assert cores.cores_allowed() == [5, 7]


def refuse(*_):
    raise PermissionError


@pytest.mark.parametrize('why', ['no such call', 'a sandbox forbids it', 'it is limited already'])
def test_a_process_that_is_not_pinned_has_as_many_threads(pinned, monkeypatch, why):
    if why == 'no such call':
        monkeypatch.delattr(os, 'sched_setaffinity')
    elif why == 'a sandbox forbids it':
        monkeypatch.setattr(os, 'sched_setaffinity', refuse)
    else:
        monkeypatch.setenv(cores.THREADS, '6')
    cores.keep_to([5, 7])
    assert pinned == []
    assert os.environ[cores.THREADS] == '2'
    assert len(cores.cores_allowed()) == 2


@pytest.mark.parametrize(
    ('worth', 'count'), [(0.2, 1), (1, 1), (1.5, 2), (3, 3), (7.5, 8), (8, 8), (64, 8), (math.inf, 8)]
)
def test_as_many_cores_count_as_the_time_is_worth(pinned, monkeypatch, worth, count):
    monkeypatch.setattr(cores.limits, 'processors', lambda: float(worth))
    cores.keep_to_limit()
    assert len(cores.cores_allowed()) == count
    assert pinned == []


def test_who_sets_the_number_of_threads_has_it(pinned, monkeypatch):
    monkeypatch.setattr(cores.limits, 'processors', lambda: 2.0)
    monkeypatch.setenv(cores.THREADS, '5')
    cores.keep_to_limit()
    assert cores.cores_allowed() == HAVE[:5]


COUNTED = """
import os
import jax
jax.devices()
print(sum('XLAEigen' in open(f'/proc/self/task/{task}/comm').read() for task in os.listdir('/proc/self/task')))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='counts the threads in /proc')
@pytest.mark.parametrize('threads', [1, 3])
def test_xla_starts_so_many_threads(threads):
    """It is a variable of XLA's, which no page documents."""
    environment = os.environ | {cores.THREADS: str(threads), 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run([sys.executable, '-c', COUNTED], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads


@pytest.fixture
def real_group():
    """A group of the kernel's whose processes may take the time of one core, where one may be made."""
    path = Path('/sys/fs/cgroup/cpu') / f'patchwise_test_{os.getpid()}'
    try:
        path.mkdir()
        (path / 'cpu.cfs_period_us').write_text('100000')
        (path / 'cpu.cfs_quota_us').write_text('100000')
    except OSError as error:
        with contextlib.suppress(OSError):
            path.rmdir()
        pytest.skip(f'no group can be made here: {error}')
    yield path
    path.rmdir()


COMMAND = """
import os, sys
open(sys.argv.pop(1), 'w').write(str(os.getpid()))
from experiment import command
from machine.cores import cores_allowed
command.run(lambda: print(*cores_allowed()))
"""


def test_a_command_in_a_real_group_keeps_to_a_core(real_group):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip('there is one core anyway')
    words = [sys.executable, '-c', COMMAND, str(real_group / 'cgroup.procs')]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 1
