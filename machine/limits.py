"""What control groups leave this process of its machine: in containers, in jobs of Slurm, in services of systemd.

A limit on processor time (`docker run --cpus`, Kubernetes' limits, systemd's CPUQuota) leaves every core of the host in
sight, and libraries start a thread for each core they see. Those use a period's time up at once, and then all of them
wait for the next, in the middle of an operation of which each has a part (benchmarks/NOTES.md).
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path('/sys/fs/cgroup')
MEMBERSHIP = Path('/proc/self/cgroup')


def processors() -> float:
    """How many cores' time this process and its group may take; infinite without a limit."""
    worth = [math.inf]
    for group in _groups('cpu'):
        told = _text(group / 'cpu.max') or f'{_text(group / "cpu.cfs_quota_us")} {_text(group / "cpu.cfs_period_us")}'
        numbers = re.fullmatch(r'(\d+) (\d+)', told)  # rather than max, or -1, or no file
        worth += [int(numbers[1]) / int(numbers[2])] if numbers else []
    return min(worth)


def memory() -> int:
    """How many bytes this process may take: those of the host, or what its group is limited to."""
    told = (_text(group / name) for group in _groups('memory') for name in ('memory.max', 'memory.limit_in_bytes'))
    host = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return min([host, *(int(number) for number in told if number.isdecimal())])


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
        return path.read_text(errors='surrogateescape').strip()
    except OSError:
        return ''
