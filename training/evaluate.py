"""Accuracy and loss over a whole split: every example once, sums first, one division at the end."""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Int

from data.spec import Split
from models import Params
from training.batches import padded_batches
from training.step import Evaluation, no_evaluation


def evaluate(step: Callable[..., Evaluation], params: Params, split: Split, batch_size: int, num_classes: int) -> dict:
    """What a model does on a split.

    Args:
      step: training.step.make_evaluation_step's, compiled for `batch_size` images.
    Returns:
      accuracy (0..1), loss (mean cross-entropy, nats), examples, and confusion, [true class, predicted class] counts.
    """
    sums = jax.device_put(no_evaluation(num_classes))
    for images, labels, mask in padded_batches(split, batch_size):
        sums = step(params, sums, images, labels, mask)
    loss, confusion = jax.device_get(sums)
    examples = int(confusion.sum())
    return {
        'accuracy': float(np.trace(confusion) / examples),
        'loss': float(loss / examples),
        'examples': examples,
        'confusion': confusion,
    }


def per_class_accuracy(confusion: Int[np.ndarray, 'classes classes']) -> np.ndarray:
    """The share of each class's examples that were recognised; NaN where a split has none of a class."""
    counts = confusion.sum(axis=1)
    return np.where(counts > 0, np.diag(confusion) / np.maximum(counts, 1), np.nan)
