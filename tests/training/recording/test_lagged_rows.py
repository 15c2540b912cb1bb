import types

from training.recording import lagged_rows
from training.recording.lagged_rows import LAG, LaggedRows
from training.step import Sums


def sums(ready):
    """Of which a device is still adding up the loss, or not."""
    return Sums.zeros()._replace(loss=types.SimpleNamespace(is_ready=lambda: ready))


def written(start=0):
    """A log that notes what it was told, and returns each row's step for the time when its sums were there."""
    told = []

    def write(step, count, sums, clock):
        told.append((step, count, clock))
        return float(step)

    return LaggedRows(write, start), told


def test_sums_that_are_there_are_written_at_once(monkeypatch):
    monkeypatch.setattr(lagged_rows.time, 'perf_counter', lambda: -1.0)
    log, told = written(start=4)
    for step in (10, 20):
        log.dispatched()
        log.ask(step, sums(ready=True))
    assert told == [(10, 6, -1.0), (20, 10, 10.0)]


def test_the_host_waits_for_sums_when_it_has_dispatched_enough():
    log, told = written()
    log.ask(10, sums(ready=False))
    for _ in range(LAG - 1):
        log.dispatched()
    assert not told
    log.dispatched()
    assert [row[:2] for row in told] == [(10, 10)]
    for _ in range(2 * LAG):
        log.dispatched()
    log.write()
    assert len(told) == 1


def test_every_row_waits_for_as_many_dispatches_as_the_first():
    log, told = written()
    for step in (10, 20, 30):
        log.ask(step, sums(ready=False))
        for _ in range(LAG - 1):
            log.dispatched()
        assert step not in {row[0] for row in told}
        for _ in range(2):
            log.dispatched()
        assert told[-1][:2] == (step, 10)


def test_a_row_is_written_before_the_next_is_asked_for_and_at_the_end():
    log, told = written()
    log.ask(10, sums(ready=False))
    log.ask(12, sums(ready=False))
    assert [row[:2] for row in told] == [(10, 10)]
    log.write()
    assert [row[:2] for row in told] == [(10, 10), (12, 2)]
