"""Several processes that train at the same time, each on cores of its own.

On a CPU two single-core trainings do more than one after the other on both cores: small products leave a second core
idle most of the time, and compilation uses one at all times (benchmarks/RESULTS.md, the sweep).
"""

import concurrent.futures
import contextlib
import ctypes
import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

from experiment.display import Display
from experiment.groups import Group, label, programs_of
from experiment.hush import hush
from experiment.sweeps import Planned
from training import interruption
from training.interruption import Interrupted
from training.log import Row
from training.placement import cores_allowed

PR_SET_PDEATHSIG = 1  # of Linux's prctl


@runtime_checkable
class Reporter(Protocol):
    """Who is told how training goes: experiment.display.Slot, or what tells it from another process."""

    def begin(self, label: str, runs: int) -> None: ...
    def row(self, row: Row, steps: int) -> None: ...
    def end(self, runs: int) -> None: ...
    def note(self, text: str, failed: bool = True) -> None: ...


Work = Callable[[Group, Path, Reporter, int], dict[str, str]]


def in_processes(
    work: Work, workdir: Path, groups: Sequence[Group], workers: int, display: Display
) -> tuple[dict[str, str], list[Planned]]:
    """Calls work(group, workdir, reporter, workers) for each group, `workers` of them at a time.

    As far as can be, groups that share their programs go to one process, which has compiled them.

    A process that dies (killed for memory, say) takes its pool with it: what was under way then is tried once more,
    one group at a time, so that it costs only the group that killed it. The others go on beside each other.

    Returns:
      What `work` returned, joined, and the runs of the groups whose process died twice.
    """
    troubles: dict[str, str] = {}
    lost: list[Planned] = []
    waiting = list(groups)
    while waiting:
        done, cut_off, waiting = _pool(work, workdir, waiting, min(workers, len(waiting)), workers, display)
        troubles |= done
        for group in cut_off:
            done, again, _ = _pool(work, workdir, [group], 1, workers, display)
            troubles |= done
            lost += [run for group in again for run in group]
    return troubles, lost


def _pool(
    work: Work, workdir: Path, groups: Sequence[Group], size: int, workers: int, display: Display
) -> tuple[dict[str, str], list[Group], list[Group]]:
    """What `work` returned, joined; the groups under way when a process died; and those that were not begun then.

    `size` processes, each on its share of the cores as if there were `workers`: on more cores a run would add up its
    sums in another order.
    """
    context = multiprocessing.get_context('spawn')  # a fork would copy JAX's threads in an unknown state
    events, cores = context.Queue(), context.SimpleQueue()
    for share in core_shares(cores_allowed(), workers):
        cores.put(share)
    troubles: dict[str, str] = {}
    waiting = [(programs_of(group), group) for group in groups]
    under_way, cut_off, broken = {}, [], False
    begun: set[str] = set()  # the programs that a process has, or is compiling
    last = None  # those of the process that became free
    with (
        _shown(events, display),
        concurrent.futures.ProcessPoolExecutor(size, context, _begin, (events, cores)) as pool,
    ):
        try:
            while under_way or (waiting and not broken):
                # No more than there are processes, so that it is known which groups one took with it.
                while waiting and len(under_way) < size and not broken:
                    programs, group = chosen = following(waiting, last, begun)
                    with interruption.kept_from_children(signal.SIGINT):  # one that starts would print a traceback
                        try:
                            under_way[pool.submit(_work, work, group, workdir, workers)] = chosen
                            begun.add(programs)
                            waiting.remove(chosen)
                        except BrokenProcessPool:
                            broken = True
                # One that is done at a time, so that the next group finds the process that is free now.
                done = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED).done
                for future in itertools.islice(done, 1):
                    last, group = under_way.pop(future)
                    try:
                        troubles |= future.result()
                    except BrokenProcessPool:
                        broken = True
                        cut_off.append(group)
        except BaseException as error:
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, Interrupted):
                raise Interrupted(error.signum, 'every run under way is saved') from None
            raise
    return troubles, cut_off, [group for _, group in waiting]


def following(waiting: Sequence[tuple[str, Group]], last: str | None, begun: set[str]) -> tuple[str, Group]:
    """What a process takes that had the programs `last`: a group of the same, else one of programs not `begun`."""
    return min(waiting, key=lambda programs_and_group: (programs_and_group[0] != last, programs_and_group[0] in begun))


def core_shares(cores: Sequence[int], workers: int) -> list[list[int]]:
    """Which cores each worker has: all of them, as evenly as can be; workers beyond the cores share."""
    shares = min(len(cores), workers)
    return [list(cores[index % shares :: shares]) for index in range(workers)]


class _Teller:
    """The Reporter of a worker."""

    def __init__(self, events: Any):
        self.events = events

    def begin(self, label: str, runs: int) -> None:
        self._tell('begin', label, runs)

    def row(self, row: Row, steps: int) -> None:
        self._tell('row', row, steps)

    def end(self, runs: int) -> None:
        self._tell('end', runs)

    def note(self, text: str, failed: bool = True) -> None:
        self._tell('note', text, failed)

    def last_note(self, text: str) -> None:
        """`note` of a run that goes on another time; waits until it is on its way, since nothing can follow it."""
        self.note(text, failed=False)
        self.events.close()
        self.events.join_thread()

    def _tell(self, name: str, *arguments: Any) -> None:
        if not multiprocessing.parent_process().is_alive():
            os._exit(1)  # nobody knows of this training any more; the next sweep goes on from its checkpoint
        self.events.put((name, os.getpid(), arguments))


def _begin(events: Any, cores: Any) -> None:
    """Makes this process a worker, before JAX starts its backend, which counts the cores."""
    global _teller
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, and ends the workers by SIGTERM
    hush()
    interruption.listen(_end, (signal.SIGTERM,))
    _end_with_parent()
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, cores.get())
    from experiment.allocator import keep_memory
    from training.compilation import use_cache

    keep_memory()
    use_cache()
    _teller = _Teller(events)
    # A save that failed leaves threads of Orbax that wait for minutes; every training has closed its files by then.
    multiprocessing.util.Finalize(None, os._exit, args=(0,), exitpriority=-1000)


_teller: _Teller | None = None
_working = False


def _work(work: Work, group: Group, workdir: Path, workers: int) -> dict[str, str]:
    global _working
    _working = True
    try:
        return work(group, workdir, _teller, workers)
    except Interrupted as interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending, and tells of it with a lock in its hands
        # Not back to the pool, which would have this process wait for work: for ever, if one that was killed while it
        # waited has taken their lock with it.
        _teller.last_note(f'{label(group)}: {interrupted}')
        os._exit(interrupted.status)
    finally:
        _working = False


def _end(signum: int) -> NoReturn:
    """Ends this process: at once, but for one that waits for work, which holds a lock that the others wait for."""
    if _working:
        os._exit(128 + signum)
    sys.exit(128 + signum)


def _end_with_parent() -> None:
    """Has the system end this process when its parent is killed; where it cannot, `_Teller` notices at the next row."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _shown(events: Any, display: Display) -> Iterator[None]:
    """Passes what workers tell on to the display, from a thread of this process."""
    slots = {}

    def listen() -> None:
        while (event := events.get()) is not None:
            name, worker, arguments = event
            slots[worker] = display.of(worker)
            getattr(slots[worker], name)(*arguments)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        events.put(None)
        thread.join(timeout=10)
        events.close()
        events.join_thread()
        for slot in slots.values():
            slot.share = 0.0  # of a process that died: its runs begin again elsewhere
