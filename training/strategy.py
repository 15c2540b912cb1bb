"""How many steps a dispatch takes, how a batch is divided among processes and parts, and how many runs train together.

By backend and model, as benchmarks.loop measured.

None of it changes results by more than float error.
"""

import math
import os
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from machine import limits
from machine.cores import cores_allowed
from models.patches import patch_grid
from models.traits import traits
from training.placement import Placement, parts

STEPS_PER_DISPATCH = 16  # at most; on accelerators a step of a small model takes less time than its dispatch
MOST_SHARES = 8  # of a batch, each with a process of its own
OF_A_SHARE = 2**29  # bytes of memory at least that there are for each: JAX, and what a small model takes
LEAST_SHARE = 8e8  # FLOPs; about 10 ms of a core, beside which what a step costs the others is little
IN_TURN = 4  # parts of a batch, one after the other, for the caches of a CPU's only core
ROWS_A_CHANNEL = 4  # tokens of such a part at least, beside which adding up the params' gradients is little
LARGE_STEP = 2e9  # FLOPs from which on parts gain; smaller ones gain by several a dispatch
LONG_RUN = 3e12  # FLOPs, half a minute on two cores, that earn the time to compile parts, or to start processes
LARGEST_FEED = 256 << 20  # bytes of images that a call brings along, at most, but for those of a single step


def longest_dispatch(config: ConfigDict, steps: int) -> int:
    """How many of a run's `steps` a call of the compiled program may take: `train.steps_per_dispatch`, or a few.

    Never more than there are between two rows of the log or two milestones, and one where every step is checked.
    """
    if config.debug.check_numerics:
        return 1
    longest = min(config.log.every, -(-steps // min(steps, config.checkpoint.count)))
    chosen = config.train.steps_per_dispatch
    if chosen is not None:
        return min(chosen, longest)
    return (evenly if jax.default_backend() == 'cpu' else wholly)(longest, STEPS_PER_DISPATCH)


def steps_per_dispatch(config: ConfigDict, longest: int, flops: int | float, brought: int = 0) -> int:
    """Steps that a call takes, at most: `longest` (of `longest_dispatch`), or fewer where that is better.

    One is better on a CPU: for large steps (of `flops` each), so that a signal is heard soon; and for convolutions,
    which are ten times slower inside a loop. As many as LARGEST_FEED has room for where images do not live on the
    device: of ImageNet at 224 pixels sixteen steps of 1,024 would bring 2.5 GB along.

    Args:
      brought: bytes of images that a call brings along for each step; 0: they are there.
    """
    if config.train.steps_per_dispatch is not None:
        return longest
    on_cpu = jax.default_backend() == 'cpu'
    if on_cpu and (traits(config.model).convolves or flops >= LARGE_STEP):
        return 1
    room = max(1, LARGEST_FEED // brought) if brought else longest
    return longest if room >= longest else (evenly if on_cpu else wholly)(longest, room)


def evenly(steps: int, most: int) -> int:
    """Steps of a call, `most` at most, where the fewest calls that can take `steps` share them equally."""
    calls = -(-steps // most)
    return -(-steps // calls)


def wholly(steps: int, most: int) -> int:
    """Steps of a call that divide `steps`, so that all are equally long, unless it takes far more calls; else `evenly`.

    For accelerators, where a shorter call takes as long (training.step.make_train_steps).
    """
    divisors = [count for count in range(1, most + 1) if steps % count == 0]
    return max(divisors) if 2 * max(divisors) > min(most, steps) else evenly(steps, most)


def shares_of_a_batch(config: ConfigDict, where: Placement, flops: int | float, steps: int, processes: int = 1) -> int:
    """Equal shares of a batch, each for a process with cores of its own (training.sharing.team); 1: all by this one.

    On a CPU, for one run, where the system `can_share`: `train.shares`, if there are so many cores. Else some, with
    equally many cores each, as far as memory goes, for a run of `steps` steps of `flops` each that makes up for the
    start of processes; not for dense convolutions, which XLA divides among its threads well enough, nor where
    `train.accumulate` says how this process is to take the batch.

    Args:
      processes: how many train on this machine at the same time, each with its own cores and all with one memory.
    """
    if not _on_one_cpu(where) or not can_share():
        return 1
    cores, asked, examples = len(cores_allowed()), config.train.shares, config.train.batch_size
    if asked is not None:
        most = range(1, min(asked, cores) + 1)
        return max(n for n in most if examples % n == 0 and examples // n % parts(config) == 0)
    worthwhile = flops * steps >= LONG_RUN and config.train.accumulate is None
    if not worthwhile or traits(config.model).convolves:
        return 1
    return equal_shares(cores, examples, min(int(flops // LEAST_SHARE), limits.memory() // processes // OF_A_SHARE))


def can_share() -> bool:
    """Whether this system keeps processes to their cores, and has memory for them that no file is left of."""
    try:
        os.close(os.memfd_create('shares'))
    except (AttributeError, OSError):  # not Linux, or a kernel that was told not to
        return False
    return hasattr(os, 'sched_setaffinity')


def equal_shares(cores: int, examples: int, most: int = MOST_SHARES) -> int:
    """The most shares, of equally many examples and cores each."""
    most = max(1, min(most, MOST_SHARES, cores))
    return max(n for n in range(1, most + 1) if examples % n == cores % n == 0)


def parts_of_a_share(
    config: ConfigDict,
    where: Placement,
    image_shape: Sequence[int],
    flops: int | float,
    steps: int,
    shares: int = 1,
) -> int:
    """Equal parts in which a process takes its share of a batch: `train.accumulate`, else by backend and model.

    Some on one core, for a long run of large steps: parts one after the other find more of their arrays in its caches.
    Convolutions are slow in such a loop.
    """
    if config.train.accumulate is not None:
        return config.train.accumulate
    one_core = len(cores_allowed()) // shares == 1
    worthwhile = flops / shares >= LARGE_STEP and flops * steps >= LONG_RUN
    if not one_core or not worthwhile or not _on_one_cpu(where) or traits(config.model).convolves:
        return 1
    model, batch = config.model, config.train.batch_size // shares
    tokens = batch * math.prod(patch_grid(image_shape, model.patch_size))
    many = batch % IN_TURN == 0 and tokens >= IN_TURN * ROWS_A_CHANNEL * model.embed_dim
    return IN_TURN if many else 1


def _on_one_cpu(where: Placement) -> bool:
    return jax.default_backend() == 'cpu' and where.size == len(where.devices) == 1


def parts_at_once(config: ConfigDict) -> bool:
    """Whether the parts of a batch are written out rather than taken one after the other, in a loop, for memory.

    On a CPU those of a model that convolves: convolutions are ten times slower inside a loop there.
    """
    return jax.default_backend() == 'cpu' and traits(config.model).convolves


def largest_population(config: ConfigDict) -> int:
    """How many runs like `config` should train as one where memory lets them: as many as there are.

    On the CPU each by itself; on accelerators one a device of what convolves: the kernel gradients of several are
    grouped convolutions with windows as large as the image, for which XLA does not take the kernels that cuDNN has for
    gradients (read in what it compiles for an H100, not timed).
    """
    if jax.default_backend() == 'cpu':
        return 1
    return jax.device_count() if traits(config.model).convolves else 2**30
