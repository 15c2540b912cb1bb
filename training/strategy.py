"""How many steps a dispatch takes, in how many parts a batch is computed, and how many runs train together.

By backend and model, as benchmarks.loop measured.

None of it changes results by more than float error.
"""

import itertools

import jax
from ml_collections import ConfigDict

from training.placement import Placement, cores_allowed

STEPS_PER_DISPATCH = 16  # on accelerators, at most; a step of a small model takes less time there than its dispatch
PARTS = 2  # of a batch, for a CPU's cores to compute at the same time
LARGE_STEP = 2e9  # FLOPs from which on they gain
LONG_RUN = 3e12  # FLOPs, half a minute on two cores, that earn the time to compile them
WIDE = 32  # channels of a ResNet's first stage from which on its convolutions fill the cores by themselves


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


def parts_of_a_batch(config: ConfigDict, where: Placement, flops: int | float, steps: int) -> int:
    """Equal parts of a batch that are differentiated by themselves: `train.accumulate`, else by backend and model.

    Two on a CPU of several cores, for a run of `steps` steps of `flops` each that makes up for compiling twice as much:
    XLA leaves a core idle wherever a product is too small to share, and fills it from the other part. Not for
    convolutions, but in narrow ResNets, and for recurrence, which gain nothing or lose.
    """
    if config.train.accumulate is not None:
        return config.train.accumulate
    alone = jax.default_backend() == 'cpu' and where.size == len(where.devices) == 1
    narrow = config.model.resnet_width < WIDE
    gains = narrow if config.model.name == 'resnet' else config.model.mixer in ('attention', 'identity')
    pays = flops >= LARGE_STEP and flops * steps >= LONG_RUN and config.train.batch_size % PARTS == 0
    return PARTS if alone and gains and pays and len(cores_allowed()) > 1 else 1


def convolves(config: ConfigDict) -> bool:
    """Whether pixels or tokens meet in a convolution across channels, which Eigen computes for XLA's CPU backend."""
    return config.model.name == 'resnet' or config.model.mixer == 'conv'


def largest_population() -> int:
    """How many runs should train as one where memory lets them: as many as there are; on the CPU each by itself."""
    return 1 if jax.default_backend() == 'cpu' else 2**30
