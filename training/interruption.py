"""SIGTERM, as a scheduler or a pre-empted machine sends it, and Ctrl-C: training saves first.

While a run trains, a signal waits until its step is done; elsewhere there is nothing to save, and it interrupts at
once. A second signal does not wait. Without `listen`, as in a notebook, Python's own handlers stay.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNSAVED = 'what came after the last checkpoint is not saved'  # by a second signal, which does not wait
SOON = 0.05  # seconds; a callback of the garbage collector takes less


class Interrupted(KeyboardInterrupt):
    """A signal ended the process's work. The message says what was saved, if anything."""

    def __init__(self, signum: int, saved: str = ''):
        super().__init__(signum, saved)
        self.signum, self.saved = signum, saved

    @property
    def status(self) -> int:
        """The exit status by which shells and schedulers know it: 130 of Ctrl-C, 143 of SIGTERM."""
        return 128 + self.signum

    def __str__(self) -> str:
        return f'interrupted by {signal.Signals(self.signum).name}; ' + (self.saved or 'nothing new had to be saved')


_at_rest: Callable[[int], None] | None = None
_requested: int | None = None
_deferring: str | None = None  # what is saved by the end of that; None: no signal is deferred


def listen(at_rest: Callable[[int], None] | None = None, signals: tuple[int, ...] = SIGNALS) -> None:
    """Handles `signals` from now on, in this process's main thread.

    Args:
      at_rest: called with a signal that comes while nothing trains; then whoever signals does so more than once, and
        training saves all the same. None: raise Interrupted, and at once for a second one.
    """

    global _at_rest
    _at_rest = at_rest

    def handle(signum: int, frame: FrameType | None) -> None:
        global _requested
        if _deferring is not None and (_requested is None or _at_rest is not None):
            _requested = signum
        elif _at_rest is not None:
            _at_rest(signum)
        else:
            raise Interrupted(signum, UNSAVED if _deferring else '')

    for signum in signals:
        signal.signal(signum, handle)
    sys.unraisablehook = functools.partial(_send_again, sys.unraisablehook)


def _send_again(otherwise: Callable[['sys.UnraisableHookArgs'], None], raised: 'sys.UnraisableHookArgs') -> None:
    """Python drops what is raised in a destructor or a callback of the garbage collector, such as JAX's: once out of
    it, the signal is to come anew."""
    if not isinstance(raised.exc_value, Interrupted):
        otherwise(raised)
        return
    again = threading.Timer(SOON, os.kill, [os.getpid(), raised.exc_value.signum])
    again.daemon = True  # keeps no process from ending
    again.start()


def requested() -> int | None:
    """The signal that waits for training to save, if there is one."""
    return _requested


def stop_if_requested() -> None:
    """Raises Interrupted where a signal waits, between parts of work that is done again from what is saved."""
    if _requested is not None:
        raise Interrupted(_requested, 'the run is saved')


@contextlib.contextmanager
def deferred(saved: str = 'the run is saved') -> Iterator[None]:
    """Inside, a signal is only noted, for `requested` to tell of; at the end it raises Interrupted.

    Args:
      saved: what Interrupted then says: how much is saved by the end.
    """
    global _deferring, _requested
    _deferring = saved
    try:
        yield
    except Interrupted:
        _deferring, _requested = None, None
        raise
    except BaseException:
        _deferring = None
        unheard, _requested = _requested, None
        # Training failed meanwhile, which is what the command will tell of; but who waits for this process to end
        # will not signal again.
        if unheard is not None and _at_rest is not None:
            _at_rest(unheard)
        raise
    _deferring = None  # from here on a signal is heard at once, and none is lost
    unheard, _requested = _requested, None
    if unheard is not None:
        raise Interrupted(unheard, saved)


@contextlib.contextmanager
def kept_from_children(signum: int) -> Iterator[None]:
    """Inside, `signum` waits, and processes that start meanwhile do not hear it; at the end it raises Interrupted."""
    with deferred(saved=''), blocked([signum]):
        yield


@contextlib.contextmanager
def blocked(signals: Sequence[int]) -> Iterator[None]:
    """Inside, they wait, here and in processes that start meanwhile, which inherit that."""
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
