import math
import os

import pytest

from machine import limits

V1 = '9:name=systemd:/\n4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/elsewhere\n'
V2 = '0::{path}\n'
HOST = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


@pytest.fixture
def group(monkeypatch, tmp_path):
    """group(membership, files): the process is where `membership` says, and the tree has these files."""
    monkeypatch.setattr(limits, 'ROOT', tmp_path)
    monkeypatch.setattr(limits, 'MEMBERSHIP', tmp_path / 'membership')

    def make(membership, files):
        limits.MEMBERSHIP.write_text(membership)
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
    assert limits.processors() == worth


@pytest.mark.parametrize(
    ('membership', 'files', 'size'),
    [
        (V2.format(path='/'), {'memory.max': 2**30}, 2**30),
        (V2.format(path='/'), {'memory.max': 'max'}, HOST),
        (V2.format(path='/'), {}, HOST),
        (V2.format(path='/'), {'memory.max': 2 * HOST}, HOST),
        (V2.format(path='/a/b'), {'a/memory.max': 2**31, 'a/b/memory.max': 'max', 'memory.max': 2**32}, 2**31),
        (V1.format(path='/a'), {'memory/a/memory.limit_in_bytes': 2**20, 'memory/memory.limit_in_bytes': 2**30}, 2**20),
    ],
)
def test_the_least_of_the_limits_on_memory_counts(group, membership, files, size):
    group(membership, files)
    assert limits.memory() == size
