"""Accuracy and loss over a whole split, and its program: every example once, sums first, one division at the end."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from data.spec import Spec, Split
from models import Model, Params
from training import placement, population
from training.batches import AHEAD, padded_batches
from training.compiling.tracing import batch_shapes, sharing
from training.compiling.xla_options import compiled
from training.placement import Placement
from training.step import Evaluation, make_evaluation_step, no_evaluation


def compile_evaluation(
    config: ConfigDict, spec: Spec, model: Model, params: Params, size: int = 1
) -> Callable[..., Evaluation]:
    """training.step.make_evaluation_step, compiled for batches of an experiment's `train.eval_batch_size`.

    `params` are one member's, and may be abstract; the program takes those of `size` members.
    """
    batch, where = _shared(config.train.eval_batch_size, size)
    images = *batch_shapes(spec, batch), jax.ShapeDtypeStruct((batch,), bool)
    sums = no_evaluation(spec.num_classes)
    step = population.vectorised(make_evaluation_step(sharing(model, where)), where, [0, 0, None, None, None])
    own = population.abstract((params, sums), where.members, size)
    shared = population.abstract(images, where.batch or where.images)
    return compiled(jax.jit(step, out_shardings=where.members).lower(*own, *shared), config)


def evaluate(step: Callable[..., Evaluation], params: Params, split: Split, batch_size: int, num_classes: int) -> dict:
    """What a model does on a split.

    Args:
      step: compile_evaluation's, for `batch_size` images.
    Returns:
      accuracy (0..1), loss (mean cross-entropy, nats), examples, and confusion, [true class, predicted class] counts.
    """
    return evaluate_members(step, params, split, batch_size, num_classes, size=1)[0]


def evaluate_members(
    step: Callable[..., Evaluation],
    params: Params,
    split: Split,
    batch_size: int,
    num_classes: int,
    size: int,
    between: Callable[[], None] = lambda: None,
) -> list[dict]:
    """`evaluate` of each of `size` members, whose `params` are stacked when they are several.

    Args:
      between: called before each batch; what it raises ends the evaluation.
    """
    batch_size, where = _shared(batch_size, size)
    sums = population.together([no_evaluation(num_classes)] * size)
    params, sums = jax.device_put((params, sums), where.members)
    sums = _summed(step, params, sums, _sent(split, batch_size, where), between)
    return [_scores(population.member(sums, index, size)) for index in range(size)]


def evaluation_of(split: Split, batch_size: int, num_classes: int) -> Callable[..., dict]:
    """again(step, params) -> `evaluate`'s scores, on a split that stays on the device since it is asked often."""
    batch_size, where = _shared(batch_size, 1)
    batches = list(_sent(split, batch_size, where))
    none = jax.device_put(no_evaluation(num_classes), where.members)

    def again(step: Callable[..., Evaluation], params: Params) -> dict:
        return _scores(_summed(step, jax.device_put(params, where.members), none, batches))

    return again


def _sent(split: Split, batch_size: int, where: Placement) -> Iterator[Sequence[jax.Array]]:
    """The batches of a split, each put on the device when it is asked for."""
    return (jax.device_put(batch, where.batch or where.images) for batch in padded_batches(split, batch_size))


def _summed(
    step: Callable[..., Evaluation],
    params: Params,
    sums: Evaluation,
    batches: Iterable[Sequence[jax.Array]],
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    in_flight = deque()
    for batch in batches:
        between()
        sums = step(params, sums, *batch)
        in_flight.append(sums)
        if len(in_flight) == AHEAD:
            jax.block_until_ready(in_flight.popleft())
    return jax.device_get(sums)


def _shared(batch_size: int, size: int) -> tuple[int, Placement]:
    """How many images `size` members are given at once, and where: a single one's are shared by all devices."""
    batch_size = batch_size if size > 1 else placement.shared_by_all(batch_size)
    return batch_size, placement.of(size, batch_size)


def _scores(sums: Evaluation) -> dict:
    examples = int(sums.confusion.sum())
    return {
        'accuracy': float(np.trace(sums.confusion) / examples),
        'loss': float(sums.loss / examples),
        'examples': examples,
        'confusion': sums.confusion,
    }


def per_class_accuracy(confusion: Int[np.ndarray, 'classes classes']) -> Float[np.ndarray, 'classes']:
    """The share of each class's examples that were recognised; NaN where a split has none of a class."""
    counts = confusion.sum(axis=1)
    return np.where(counts > 0, np.diag(confusion) / np.maximum(counts, 1), np.nan)
