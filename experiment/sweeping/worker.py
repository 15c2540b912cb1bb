"""One process of several that train at the same time: it works on a group of runs whenever it is given one.

A pipe of its own leads to the process that started it, and nothing else is shared: no lock or queue that it could
take along when it is killed.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

from experiment.garbage import collect_seldom
from experiment.hush import hush
from experiment.sweeping.groups import Group, label
from machine.cores import keep_to
from training import interruption
from training.interruption import Interrupted
from training.recording.log import Row

PR_SET_PDEATHSIG = 1  # of Linux's prctl
DONE, RAISED = 'done', 'raised'  # how work on a group ends; before it come calls of a Reporter, by name


@runtime_checkable
class Reporter(Protocol):
    """Who is told how training goes: experiment.display.Slot, or what tells it from another process."""

    def begin(self, label: str, runs: int, steps: int = 1) -> None:
        """So many runs begin to train together, of so many steps each."""

    def row(self, row: Row, steps: int) -> None:
        """They wrote a row of metrics, `steps` being all that they have to take."""

    def end(self, runs: int) -> None:
        """So many of them are done, one way or another; 0: they are to be begun again, otherwise."""

    def note(self, text: str, failed: bool = True) -> None:
        """Something to tell the user; by default, that a run failed."""


Work = Callable[[Group, Path, Reporter, int], dict[str, str]]


class _Teller:
    """The Reporter of this process."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def begin(self, label: str, runs: int, steps: int = 1) -> None:
        self.tell('begin', label, runs, steps)

    def row(self, row: Row, steps: int) -> None:
        self.tell('row', row, steps)

    def end(self, runs: int) -> None:
        self.tell('end', runs)

    def note(self, text: str, failed: bool = True) -> None:
        self.tell('note', text, failed)

    def tell(self, name: str, *arguments: Any) -> None:
        try:
            self.pipe.send((name, *arguments))
        except OSError:
            os._exit(1)  # nobody knows of this training any more; the next sweep goes on from its checkpoint


def serve(work: Work, workdir: Path, workers: int, pipe: Connection, cores: Sequence[int]) -> NoReturn:
    """Calls work(group, workdir, reporter, workers) for each group that comes through the pipe, until it is closed.

    Args:
      cores: those of this process.
    """
    _begin(cores)
    teller = _Teller(pipe)
    while True:
        try:
            group = pipe.recv()
        except (EOFError, OSError):
            # At once: a save that failed leaves threads of Orbax that wait for minutes, and all files are closed.
            os._exit(0)
        try:
            teller.tell(DONE, work(group, workdir, teller, workers))
        except Interrupted as interrupted:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending, and has a last word
            teller.note(f'{label(group)}: {interrupted}', failed=False)
            os._exit(interrupted.status)
        except Exception as error:
            error.add_note(traceback.format_exc())
            teller.tell(RAISED, _sendable(error))


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same where it does not come through a pipe, as many of libraries' do not."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))  # as the pipe does
        return error
    except Exception:
        told = RuntimeError(f'{type(error).__name__}: {error}')
        for note in error.__notes__:
            told.add_note(note)
        return told


def _begin(cores: Sequence[int]) -> None:
    """Sets this process up as a command is; before JAX starts its backend, which counts the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it, and ends its workers by SIGTERM
    collect_seldom()
    hush()
    interruption.listen(lambda signum: os._exit(128 + signum), (signal.SIGTERM,))
    _end_with_parent()
    keep_to(cores)
    from training.compiling.program_cache import use_cache
    from training.sharing.allocator import keep_memory

    keep_memory()
    use_cache()


def _end_with_parent() -> None:
    """Has the system end this process when its parent is killed; where it cannot, the pipe tells at the next row."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if not multiprocessing.parent_process().is_alive():  # it was killed before that
            os._exit(1)
