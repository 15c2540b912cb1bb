"""A signal waits for training to save, and is never forgotten."""

import gc
import signal
import subprocess
import sys
import time

import pytest

from training import interruption
from training.interruption import Interrupted, deferred, kept_from_children, requested

SIGNAL = signal.SIGUSR1  # no handler of pytest's


def train(signals, error=None):
    """Training to which signals come, and that may fail then; what it was asked to do meanwhile."""
    with deferred():
        for _ in range(signals):
            signal.raise_signal(SIGNAL)
        asked = requested()
        if error is not None:
            raise error
        return asked


@pytest.fixture
def listen():
    """interruption.listen, to SIGNAL and until the test ends."""
    before, hook = signal.getsignal(SIGNAL), sys.unraisablehook
    yield lambda at_rest=None: interruption.listen(at_rest, (SIGNAL,))
    interruption.listen(signals=())
    signal.signal(SIGNAL, before)
    sys.unraisablehook = hook


@pytest.mark.parametrize('at_rest', [True, False])
def test_a_signal_at_rest_is_heard_at_once(listen, at_rest):
    heard = []
    listen(heard.append if at_rest else None)
    if at_rest:
        signal.raise_signal(SIGNAL)
        assert heard == [SIGNAL]
    else:
        with pytest.raises(Interrupted, match='nothing new had to be saved'):
            signal.raise_signal(SIGNAL)


def test_training_without_a_signal_is_not_interrupted(listen):
    listen()
    assert train(0) is None


@pytest.mark.parametrize('at_rest', [True, False])
def test_a_signal_that_nobody_asked_for_is_raised_when_the_run_is_saved(listen, at_rest):
    heard = []
    listen(heard.append if at_rest else None)
    with pytest.raises(Interrupted, match='the run is saved') as raised:
        train(1)
    assert raised.value.status == 128 + SIGNAL
    assert (heard, requested()) == ([], None)


def traced(line):
    """Has a signal come just before the given one of the lines that `deferred` runs; counts them."""
    seen = []

    def trace(frame, event, _):
        if frame.f_code is not deferred.__wrapped__.__code__:
            return None
        if event == 'line':
            seen.append(frame.f_lineno)
            if len(seen) == line:
                signal.raise_signal(SIGNAL)
        return trace

    sys.settrace(trace)
    return seen


def test_there_is_no_moment_at_which_a_signal_is_lost(listen):
    listen()
    before = sys.gettrace()
    try:
        lines = traced(None)
        train(0)
        assert len(lines) > 4
        for line in range(1, len(lines) + 1):
            traced(line)
            with pytest.raises(Interrupted):
                train(0)
            assert requested() is None
    finally:
        sys.settrace(before)


def test_a_second_signal_does_not_wait(listen):
    listen()
    with pytest.raises(Interrupted, match='what came after the last checkpoint is not saved'):
        train(2)
    assert requested() is None


def test_a_worker_that_is_signalled_twice_saves_all_the_same(listen):
    """Its sweep ends it, and so does the pool once another worker has ended."""
    heard = []
    listen(heard.append)
    with pytest.raises(Interrupted, match='the run is saved'):
        train(2)
    assert (heard, requested()) == ([], None)


@pytest.mark.parametrize('at_rest', [True, False])
def test_a_signal_that_training_did_not_live_to_hear(listen, at_rest):
    """A worker ends by it, and the pool that waits for its end does not wait for ever; elsewhere the error is told."""
    heard = []
    listen(heard.append if at_rest else None)
    with pytest.raises(OSError, match='full'):
        train(1, OSError('full'))
    assert (heard, requested()) == ([SIGNAL] * at_rest, None)


def test_a_signal_that_python_would_drop_comes_again(listen):
    """JAX has the garbage collector call it, and what such a callback raises is printed and forgotten."""
    listen()
    dropped = []

    def callback(phase, info):
        if not dropped:
            dropped.append(True)
            signal.raise_signal(SIGNAL)

    def collect():
        gc.collect()
        assert dropped
        time.sleep(5)

    gc.callbacks.append(callback)
    try:
        with pytest.raises(Interrupted):
            collect()
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.skipif(not hasattr(signal, 'pthread_sigmask'), reason='this system holds no signal back')
def test_a_process_that_starts_is_not_signalled(listen):
    def start():
        with kept_from_children(SIGNAL):
            child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.5)'])
            child.send_signal(SIGNAL)
            signal.raise_signal(SIGNAL)
            ended.append(child.wait())

    listen()
    ended = []
    with pytest.raises(Interrupted):
        start()
    assert ended == [0]
