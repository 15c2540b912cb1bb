"""How many steps a dispatch takes and how many runs train together: by backend and model, as benchmarks.loop measured.

None of it changes results by more than float error.
"""

import itertools

import jax
from ml_collections import ConfigDict

STEPS_PER_DISPATCH = 16  # on accelerators, at most; a step of a small model takes less time there than its dispatch


def steps_per_dispatch(config: ConfigDict) -> int:
    """Steps that one call of the compiled program takes: `train.steps_per_dispatch`, else by the backend.

    One on the CPU, where a call costs microseconds and a convolution inside a loop is five to ten times slower. Never
    more than there are between two rows of the log, and one where every step is checked.
    """
    every, chosen = config.log.every, config.train.steps_per_dispatch
    if config.debug.check_numerics:
        return 1
    if chosen is not None:
        return min(chosen, every)
    return 1 if jax.default_backend() == 'cpu' else fewest_dispatches(every, STEPS_PER_DISPATCH)


def fewest_dispatches(steps: int, most: int) -> int:
    """How many steps of `steps` to take at once, `most` at most, when those that are left over go one by one."""
    return min(range(min(most, steps), 0, -1), key=lambda count: steps // count + steps % count)


def milestones(steps: int, count: int) -> list[int]:
    """The steps after which a run validates and saves: at most `count`, evenly spread, the last at the end."""
    if count >= steps:
        return list(range(1, steps + 1))
    return sorted({max(1, round(steps * index / count)) for index in range(1, count + 1)})


def dispatches(config: ConfigDict, steps: int) -> list[int]:
    """The numbers of steps that the calls of a run of `steps` take: one program each.

    As many as `steps_per_dispatch`, and one by one those that are left before a row of the log or a milestone.
    """
    count = steps_per_dispatch(config)
    stops = {*range(config.log.every, steps, config.log.every), *milestones(steps, config.checkpoint.count)}
    lengths = {stop - start for start, stop in itertools.pairwise([0, *sorted(stops)])}
    singly = {1} if any(length % count for length in lengths) else set()
    return sorted(singly | {count for length in lengths if length >= count})


def convolves(config: ConfigDict) -> bool:
    """Whether tokens or pixels meet in a convolution, which XLA's CPU backend compiles in a way of its own."""
    model = config.model
    return model.name == 'resnet' or 'conv' in model.mixer or model.positions.name == 'conditional'


def largest_population() -> int:
    """How many runs should train as one where memory lets them: as many as there are; on the CPU each by itself."""
    return 1 if jax.default_backend() == 'cpu' else 2**30
