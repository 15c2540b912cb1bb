import contextlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiment import cgroups

V1 = '9:name=systemd:/\n4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/elsewhere\n'
V2 = '0::{path}\n'


@pytest.fixture
def group(monkeypatch, tmp_path):
    """group(membership, files): the process is where `membership` says, and the tree has these files."""
    monkeypatch.setattr(cgroups, 'ROOT', tmp_path)
    monkeypatch.setattr(cgroups, 'MEMBERSHIP', tmp_path / 'membership')

    def make(membership, files):
        cgroups.MEMBERSHIP.write_text(membership)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{text}\n')

    return make


@pytest.mark.parametrize(
    ('membership', 'files', 'worth'),
    [
        (V2.format(path='/'), {'cpu.max': '150000 100000'}, 1.5),
        (V2.format(path='/'), {'cpu.max': 'max 100000'}, math.inf),
        (V2.format(path='/'), {}, math.inf),
        ('', {'cpu.max': '100000 100000'}, math.inf),
        # A batch system's step in a job in a service: whichever is least.
        (V2.format(path='/a/b/c'), {'a/cpu.max': '800000 100000', 'a/b/cpu.max': '50000 25000'}, 2),
        (V2.format(path='/a/b/c'), {'a/b/c/cpu.max': '300000 100000', 'a/cpu.max': '800000 100000'}, 3),
        (V2.format(path='/a'), {'b/cpu.max': '100000 100000'}, math.inf),
        # A container that does not see where in the host's tree it is.
        (V2.format(path='/docker/1f'), {'cpu.max': '400000 100000'}, 4),
        (V2.format(path='/../other'), {'cpu.max': '400000 100000'}, 4),
        (V1.format(path='/'), {'cpu/cpu.cfs_quota_us': '250000', 'cpu/cpu.cfs_period_us': '100000'}, 2.5),
        (V1.format(path='/'), {'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'}, math.inf),
        (V1.format(path='/a'), {'cpu/a/cpu.cfs_quota_us': '20000', 'cpu/a/cpu.cfs_period_us': '10000'}, 2),
        (V1.format(path='/a'), {'cpu/cpu.cfs_quota_us': '20000', 'cpu/a/cpu.cfs_period_us': '10000'}, math.inf),
    ],
)
def test_the_least_of_the_limits_on_time_counts(group, membership, files, worth):
    group(membership, files)
    assert cgroups.processors() == worth


@pytest.mark.parametrize(
    ('membership', 'files', 'size'),
    [
        (V2.format(path='/'), {'memory.max': 2**30}, 2**30),
        (V2.format(path='/'), {'memory.max': 'max'}, math.inf),
        (V2.format(path='/'), {}, math.inf),
        (V2.format(path='/a/b'), {'a/memory.max': 2**31, 'a/b/memory.max': 'max', 'memory.max': 2**32}, 2**31),
        (V1.format(path='/a'), {'memory/a/memory.limit_in_bytes': 2**20, 'memory/memory.limit_in_bytes': 2**30}, 2**20),
    ],
)
def test_the_least_of_the_limits_on_memory_counts(group, membership, files, size):
    group(membership, files)
    assert cgroups.memory() == size


@pytest.fixture
def cores_of(monkeypatch):
    """cores_of(cores, worth): those that are kept to, out of `cores`, where the time is `worth` so many."""

    def kept(cores, worth):
        chosen = [list(cores)]
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(cores), raising=False)
        monkeypatch.setattr(os, 'sched_setaffinity', lambda _, some: chosen.append(some), raising=False)
        monkeypatch.setattr(cgroups, 'processors', lambda: float(worth))
        cgroups.keep_to_limit()
        return chosen[-1]

    return kept


@pytest.mark.parametrize(('worth', 'count'), [(0.2, 1), (1, 1), (1.5, 2), (3, 3), (7.5, 8), (8, 8), (64, 8)])
def test_as_many_cores_are_kept_as_the_time_is_worth(cores_of, worth, count):
    cores = [3, 5, 6, 7, 20, 21, 22, 40]
    kept = cores_of(cores, worth)
    assert len(kept) == len(set(kept)) == count
    assert set(kept) <= set(cores)


def test_without_a_limit_or_where_nothing_can_be_pinned_all_stay(cores_of, monkeypatch):
    assert cores_of(range(8), math.inf) == list(range(8))

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(cgroups, 'processors', lambda: 2.0)
    monkeypatch.setattr(os, 'sched_setaffinity', refuse, raising=False)
    cgroups.keep_to_limit()
    monkeypatch.delattr(os, 'sched_setaffinity')
    cgroups.keep_to_limit()


@pytest.mark.parametrize('siblings', [lambda core: f'{core % 4},{core % 4 + 4}', lambda core: f'{core & 6}-{core | 1}'])
def test_physical_cores_come_before_their_second_threads(cores_of, monkeypatch, tmp_path, siblings):
    monkeypatch.setattr(cgroups, 'CPUS', tmp_path)
    for core in range(8):
        (tmp_path / f'cpu{core}' / 'topology').mkdir(parents=True)
        (tmp_path / f'cpu{core}' / 'topology' / 'thread_siblings_list').write_text(f'{siblings(core)}\n')
    assert len({siblings(core) for core in cores_of(range(8), 4)}) == 4
    assert len({siblings(core) for core in cores_of(range(8), 6)}) == 4


def test_containers_of_a_host_do_not_all_sit_on_its_first_cores(cores_of, group):
    firsts = set()
    for number in range(50):
        group(V2.format(path=f'/docker/{number}'), {})
        kept = cores_of(range(64), 4)
        assert kept == cores_of(range(64), 4)  # what one container starts stays together
        firsts.add(kept[0])
    assert len(firsts) > 20


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
from training.placement import cores_allowed
command.run(lambda: print(*cores_allowed()))
"""


def test_a_command_in_a_real_group_keeps_to_a_core(real_group):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip('there is one core anyway')
    words = [sys.executable, '-c', COMMAND, str(real_group / 'cgroup.procs')]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 1
