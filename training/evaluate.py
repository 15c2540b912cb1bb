"""Accuracy and loss over a whole split: every example once, sums first, one division at the end."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, Int

from data.spec import Split
from models import Params
from training import placement, population
from training.batches import padded_batches
from training.step import Evaluation, no_evaluation


def evaluate(step: Callable[..., Evaluation], params: Params, split: Split, batch_size: int, num_classes: int) -> dict:
    """What a model does on a split.

    Args:
      step: training.step.make_evaluation_step's, compiled for `batch_size` images.
    Returns:
      accuracy (0..1), loss (mean cross-entropy, nats), examples, and confusion, [true class, predicted class] counts.
    """
    return evaluate_members(step, params, split, batch_size, num_classes, size=1)[0]


def evaluate_members(
    step: Callable[..., Evaluation], params: Params, split: Split, batch_size: int, num_classes: int, size: int
) -> list[dict]:
    """`evaluate` of each of `size` members, whose `params` are stacked when they are several."""
    where = placement.of(size, batch_size)
    sums = population.together([no_evaluation(num_classes)] * size)
    params, sums = jax.device_put((params, sums), where.members)
    for batch in padded_batches(split, batch_size):
        sums = step(params, sums, *jax.device_put(batch, where.images))
    sums = jax.device_get(sums)
    return [_scores(population.member(sums, index, size)) for index in range(size)]


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
