"""Several processes that train at the same time, each on cores of its own.

On a CPU two single-core trainings do more than one after the other on both cores: small products leave a second core
idle most of the time, and compilation uses one at all times (benchmarks/RESULTS.md, the sweep).
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from experiment.display import Display
from experiment.sweeping import worker
from experiment.sweeping.groups import Group, programs_of
from experiment.sweeping.sweeps import Planned
from experiment.sweeping.worker import Work
from machine.cores import core_shares, cores_allowed
from training import interruption
from training.interruption import Interrupted

Waiting = tuple[str, Group]  # a group, behind what its programs follow from
DIED = 'died'


@dataclasses.dataclass
class _Process:
    """A process that works, and what it has under way."""

    process: BaseProcess
    pipe: Connection
    cores: list[int]
    programs: str | None = None
    group: Group = dataclasses.field(default_factory=list)


def in_processes(
    work: Work, workdir: Path, groups: Sequence[Group], workers: int, display: Display
) -> tuple[dict[str, str], list[Planned]]:
    """Calls work(group, workdir, reporter, workers) for each group, `workers` of them at a time.

    As far as can be, groups that share their programs go to one process, which has compiled them.

    A process may die (killed for memory, say). What it had under way is tried once more, alone, when the others are
    done: it costs nothing but itself.

    Returns:
      What `work` returned, joined, and the runs of the groups whose process died twice.
    """
    resource_tracker.ensure_running()  # with the first process it would start too late: it unblocks what must wait then
    shares = core_shares(cores_allowed(), workers)
    serve = functools.partial(worker.serve, work, workdir, workers)
    troubles, cut_off = _work_on(groups, shares, serve, display)
    lost: list[Planned] = []
    for group in cut_off:
        # On as many cores as the others have: on more of them a run would add up its sums in another order.
        done, again = _work_on([group], shares[:1], serve, display)
        troubles |= done
        lost += [run for group in again for run in group]
    return troubles, lost


def _work_on(
    groups: Sequence[Group], shares: Sequence[list[int]], serve: Callable[..., None], display: Display
) -> tuple[dict[str, str], list[Group]]:
    """What the work returned, joined, and the groups whose process died; with a process for each share of the cores."""
    troubles: dict[str, str] = {}
    cut_off: list[Group] = []
    waiting = [(programs_of(group), group) for group in groups]
    begun: set[str] = set()  # the programs that a process has, or is compiling
    free, busy = list(shares), []
    try:
        while waiting or busy:
            while waiting and free:
                with interruption.kept_from_children(signal.SIGINT):  # one that starts would print a traceback
                    busy.append(_start(serve, free.pop(0)))
                    _give(busy[-1], waiting, begun)
            for one, outcome, result in _outcomes(busy, display):
                if outcome == worker.RAISED:
                    raise result
                if outcome == worker.DONE:
                    troubles |= result
                    if waiting:
                        _give(one, waiting, begun)
                        continue
                else:
                    cut_off.append(one.group)
                    free.append(one.cores)
                busy.remove(one)
                _let_go(one)
    except BaseException as error:
        try:
            _end(busy, display)
        except Interrupted as again:
            raise Interrupted(again.signum, 'what was under way is saved as of its last checkpoint') from None
        if isinstance(error, Interrupted):
            raise Interrupted(error.signum, 'every run under way is saved') from None
        raise
    return troubles, cut_off


def _start(serve: Callable[..., None], cores: list[int]) -> _Process:
    context = multiprocessing.get_context('spawn')  # a fork would copy JAX's threads in an unknown state
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, cores))
    process.start()
    theirs.close()  # so that its end is the pipe's
    return _Process(process, ours, cores)


def _give(one: _Process, waiting: list[Waiting], begun: set[str]) -> None:
    """The process's next group, out of those that wait."""
    chosen = following(waiting, one.programs, begun)
    waiting.remove(chosen)
    one.programs, one.group = chosen
    begun.add(one.programs)
    with contextlib.suppress(OSError):  # it has died, of which the pipe tells next
        one.pipe.send(one.group)


def _outcomes(busy: Sequence[_Process], display: Display) -> list[tuple[_Process, str, Any]]:
    """Waits until some of the processes tell anything, and returns whose work ended, and how.

    A signal that comes while this waits may lose what they told; but whoever hears of it ends them all.
    """
    ready = wait([one.pipe for one in busy])
    with interruption.deferred(saved=''):  # else it would cut in two what is heard
        heard = [(one, *_hear(one, display)) for one in busy if one.pipe in ready]
    return [(one, outcome, result) for one, outcome, result in heard if outcome]


def _hear(one: _Process, display: Display) -> tuple[str | None, Any]:
    """How its work ended; or None, after what it told was passed on to the display."""
    slot = display.of(one.process.pid)
    try:
        name, *arguments = one.pipe.recv()
    except (EOFError, OSError):
        slot.end(0)  # its runs begin again elsewhere
        return DIED, None
    if name in (worker.DONE, worker.RAISED):
        return name, *arguments
    getattr(slot, name)(*arguments)
    return None, None


def _let_go(one: _Process) -> None:
    """Ends a process that has nothing to do, or has died."""
    one.pipe.close()
    one.process.join(timeout=1)  # it ends at once, unless somebody stopped it


def _end(busy: list[_Process], display: Display) -> None:
    """Ends processes that work, once they have saved what they train."""
    for one in busy:
        one.process.terminate()
    while busy:
        for one, _, _ in _outcomes(busy, display):
            busy.remove(one)
            _let_go(one)


def following(waiting: Sequence[Waiting], last: str | None, begun: set[str]) -> Waiting:
    """What a process takes that had the programs `last`: a group of the same, else one of programs not `begun`."""
    return min(waiting, key=lambda programs_and_group: (programs_and_group[0] != last, programs_and_group[0] in begun))
