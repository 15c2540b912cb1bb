"""What the system leaves this process of its machine, where control groups limit it: containers, Slurm, systemd.

A limit on processor time (`docker run --cpus`, Kubernetes' limits, systemd's CPUQuota) leaves every core of the host in
sight, and libraries start a thread for each core they see. Those use a period's time up at once, and then all of them
wait for the next, in the middle of an operation of which each has a part (benchmarks/NOTES.md).
"""

import contextlib
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path('/sys/fs/cgroup')
MEMBERSHIP = Path('/proc/self/cgroup')
NAMESPACE = Path('/proc/self/ns/mnt')
CPUS = Path('/sys/devices/system/cpu')


def keep_to_limit() -> None:
    """Keeps this process, and all that it starts, to as many of its cores as its limit of time is worth.

    To be called before any library counts the cores. Where there is no limit, or the system pins no process, nothing
    is done.
    """
    if not hasattr(os, 'sched_setaffinity'):
        return
    allowed, worth = sorted(os.sched_getaffinity(0)), processors()
    if worth < len(allowed):
        with contextlib.suppress(OSError):  # a sandbox may forbid it, and then it is slow rather than wrong
            os.sched_setaffinity(0, some_of(allowed, math.ceil(worth)))


def some_of(cores: Sequence[int], count: int) -> list[int]:
    """`count` of the cores: physical ones first, and not those that another container of the same host would take."""
    where = _text(MEMBERSHIP)
    with contextlib.suppress(OSError):
        where += str(NAMESPACE.stat().st_ino)
    first = int(hashlib.sha256(where.encode()).hexdigest(), 16) % len(cores)
    return sorted([*cores[first:], *cores[:first]], key=_is_second_thread)[:count]


def _is_second_thread(core: int) -> bool:
    """Whether its physical core has another number too, a lower one."""
    siblings = _text(CPUS / f'cpu{core}' / 'topology' / 'thread_siblings_list')  # such as 3,35 or 6-7
    return siblings != '' and int(re.split('[,-]', siblings)[0]) != core


def processors() -> float:
    """How many cores' time this process and its group may take; infinite without a limit."""
    worth = [math.inf]
    for group in _groups('cpu'):
        told = _text(group / 'cpu.max') or f'{_text(group / "cpu.cfs_quota_us")} {_text(group / "cpu.cfs_period_us")}'
        numbers = re.fullmatch(r'(\d+) (\d+)', told)  # rather than max, or -1, or no file
        worth += [int(numbers[1]) / int(numbers[2])] if numbers else []
    return min(worth)


def memory() -> float:
    """How many bytes this process and its group may take; infinite without a limit."""
    told = (_text(group / name) for group in _groups('memory') for name in ('memory.max', 'memory.limit_in_bytes'))
    return min((float(number) for number in told if number.isdecimal()), default=math.inf)


def _groups(controller: str) -> Iterator[Path]:
    """The groups of this process that `controller` limits: its own, the one that this is in, and so on."""
    for line in _text(MEMBERSHIP).splitlines():
        _, controllers, path = line.split(':', 2)
        if controllers and controller not in controllers.split(','):
            continue
        # Version 2 has one tree for all. Of a path that a container does not see its root is left: the own group.
        tree = ROOT / controller if controllers else ROOT
        own = tree / path.lstrip('/')
        yield from (group for group in (own, *own.parents) if group.is_relative_to(tree))


def _text(path: Path) -> str:
    """What a file says; nothing where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ''
