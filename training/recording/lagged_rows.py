"""Rows of the log, written a little after their steps, so that the host need not wait for an accelerator."""

import time
from collections.abc import Callable

from training.step import Sums

LAG = 3  # dispatches that a row's sums have to arrive in before the host waits for them

Write = Callable[[int, int, Sums, float], float]


class LaggedRows:
    """At most one row that is asked for and not yet written: the host runs ahead of the device that adds it up."""

    def __init__(self, write: Write, start: int):
        """`write(step, count, sums, clock)` logs the `count` steps up to `step`, begun at `clock`, and returns the time
        when their sums were there. `start` is the step before the first."""
        self._write, self._logged, self._clock = write, start, time.perf_counter()
        self._asked: tuple[int, int, Sums] | None = None
        self._since = 0  # dispatches after it

    def dispatched(self) -> None:
        """Counts a dispatch; writes the row asked for `LAG` of them ago."""
        self._since += 1
        if self._since == LAG:
            self.write()

    def ask(self, step: int, sums: Sums) -> None:
        """Asks for the row of `step`; writes the one before, and this one too if its sums are there, as on a CPU."""
        self.write()
        self._asked, self._logged, self._since = (step, step - self._logged, sums), step, 0
        if sums.loss.is_ready():
            self.write()

    def write(self) -> None:
        """Writes the row that was asked for, if any."""
        if self._asked:
            self._clock, self._asked = self._write(*self._asked, self._clock), None
