"""Programs timed in turns, and how many times as long one takes as another."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

# Seconds that one timing lasts at least: a short program is called several times. On an accelerator calls are queued,
# as in training, and what it waits for the first is little beside all of them.
SAMPLE, QUEUED_SAMPLE = 0.005, 0.5
LONG = 1.0  # seconds; a longer program is not slowed by what the one before left in the caches, nor called untimed


class Ratio(NamedTuple):
    """Of two arms' times in the same round: the median over rounds, and the quartiles around it."""

    median: float
    low: float
    high: float


def time_in_turns(
    programs: Mapping[str, Callable[[], Any]], *, seconds: float, fewest: int
) -> dict[str, Float[np.ndarray, 'rounds']]:
    """Milliseconds of a call of each program in each round. Every round times all of them, so that they share its luck.

    Rounds go on for `seconds`, and are at least `fewest`; each runs in the reverse order of the one before. A call
    before each timing is not timed: after a large program the first call of a small one took up to twice as long.
    """
    for program in programs.values():
        _time(program, 1)  # in which some compile
    first = {name: _time(program, 1) for name, program in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    order, end = list(programs), time.perf_counter() + seconds
    rounds, sample = 0, SAMPLE if jax.default_backend() == 'cpu' else QUEUED_SAMPLE
    while programs and (rounds < fewest or time.perf_counter() < end):
        rounds += 1
        for name in order:
            if first[name] < LONG:
                _time(programs[name], 1)
            times[name].append(1e3 * _time(programs[name], max(1, int(sample / first[name]))))
        order.reverse()
    return {name: np.array(values) for name, values in times.items()}


def ratio(numerator: Float[np.ndarray, 'rounds'], denominator: Float[np.ndarray, 'rounds']) -> Ratio:
    """How many times as long the first arm takes."""
    low, median, high = np.percentile(numerator / denominator, [25, 50, 75])
    return Ratio(float(median), float(low), float(high))


def in_words(ratio: Mapping[str, float]) -> str:
    """A Ratio, given as JSON holds it, in words: 1.10 (1.08-1.12)."""
    return '{median:.2f} ({low:.2f}-{high:.2f})'.format(**ratio)


def _time(program: Callable[[], Any], calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        result = program()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls
