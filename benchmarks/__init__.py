"""Paired timings against what a user would pick instead: what every benchmark shares."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from data.spec import Dataset, Spec, Split
from experiment import environment
from machine.cores import cores_allowed

# Seconds that one timing lasts at least: a short program is called several times. On an accelerator calls are queued,
# as in training, and what it waits for the first is little beside all of them.
SAMPLE, QUEUED_SAMPLE = 0.005, 0.5
CLASSES = 10  # of random images
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
    first = {name: _time(program, 1) for name, program in programs.items()}
    first = {name: seconds if seconds > LONG else _time(programs[name], 1) for name, seconds in first.items()}
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


def random_dataset(image_shape: tuple[int, int, int], examples: int) -> Dataset:
    """Noise of ten classes, for what is timed and not learned; the same in all splits."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (examples, *image_shape), dtype=np.uint8)
    split = Split(images, draws.integers(0, CLASSES, examples).astype(np.int32))
    return Dataset(Spec('random', image_shape, CLASSES, tuple(map(str, range(CLASSES))), flip=False), *[split] * 3)


def machine() -> dict[str, Any]:
    """What the timings are of: hardware, versions, commit."""
    return {
        'cpu': environment.cpu_model(),
        'cores': len(cores_allowed()),
        'device': environment.device(),
        'versions': environment.versions(),
        **environment.git(),
    }


def describe(machine: Mapping[str, Any]) -> str:
    """The same, as lines of Markdown."""
    versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
    commit = f'{machine["commit"]}{", with changes" if machine["dirty"] else ""}'
    return '\n'.join(
        [
            f'- machine: {machine["cpu"]}, {machine["cores"]} cores; backend {machine["device"]["platform"]} '
            f'({machine["device"]["kind"]})',
            f'- versions: {versions}',
            f'- commit: {commit}',
        ]
    )


def available_bytes() -> int:
    """Memory that the device of JAX's programs has to spare now."""
    stats = jax.devices()[0].memory_stats()
    if stats and 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable'))
    except (OSError, StopIteration):
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _time(program: Callable[[], Any], calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        result = program()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls
