"""The cores that this process may compute on, and how it is kept to some of them."""

import math
import os
from collections.abc import Sequence

from machine import limits

# XLA's CPU backend starts as many threads as this variable says, else one for each core that the process may use.
THREADS = 'PJRT_NPROC'


def cores_allowed() -> list[int]:
    """The cores that this process may use; no more of them than XLA is to have threads for."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else list(range(os.cpu_count() or 1))
    threads = os.environ.get(THREADS, '')
    return cores[: max(1, int(threads))] if threads.isdecimal() else cores


def core_shares(cores: Sequence[int], workers: int) -> list[list[int]]:
    """Which cores each worker has: equally many, or one that others have too where there are not enough.

    Cores that are left over stay idle: on one more than the others have, a run would add up in another order, and its
    bits would depend on whose turn it was.
    """
    shares = min(len(cores), workers)
    each = len(cores) // shares
    return [list(cores[index % shares :: shares][:each]) for index in range(workers)]


def keep_to(cores: Sequence[int]) -> None:
    """Has this process compute on `cores`, or on as many; to be called before JAX starts its backend.

    By the number of threads where that is how this process is limited already, or the system pins no process.
    """
    if THREADS not in os.environ:
        try:
            os.sched_setaffinity(0, cores)
            return
        except (AttributeError, OSError):  # not Linux, or a sandbox that forbids it
            pass
    os.environ[THREADS] = str(len(cores))


def keep_to_limit() -> None:
    """Has this process, and all that it starts, compute on as many cores as its limit on time is worth.

    To be called before JAX starts its backend. By the number of threads: containers of a host do not know of each
    other, and would be pinned to the same cores. Whoever set that number already has it.
    """
    worth = limits.processors()
    if worth < len(cores_allowed()):
        os.environ.setdefault(THREADS, str(math.ceil(worth)))
