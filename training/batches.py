"""Which examples each step sees, and where they come from."""

import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Bool, Int

from data.spec import Rows, Split

Batch = tuple[jax.Array, jax.Array]  # images and labels
Take = Callable[[Int[np.ndarray, 'batch']], Batch]


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, examples: int) -> Int[np.ndarray, 'examples']:
    return np.random.default_rng((seed, epoch)).permutation(examples)


def batch_rows(seed: int, step: int, batch_size: int, examples: int) -> Int[np.ndarray, 'batch']:
    """The rows that step `step` (from 0) trains on: a pure function, so a resumed run sees what it would have seen.

    The steps walk along a sequence of epochs, each an independent permutation, and a batch may lie across two:
    no example is dropped, none comes twice before all came once.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(places, examples)
    rows = np.empty(batch_size, np.int32)
    for epoch in range(epochs[0], epochs[-1] + 1):
        here = epochs == epoch
        rows[here] = _epoch_order(seed, int(epoch), examples)[offsets[here]]
    return rows


def make_batches(split: Split) -> Take:
    """take(rows) -> (images, labels) on the device; the step cannot tell where they lay before.

    Images that fit in memory live on the device; more are gathered on the host, step by step.
    """
    if isinstance(split.images, Rows):
        return lambda rows: jax.device_put((split.images[rows], split.labels[rows]))
    images, labels = jax.device_put((split.images, split.labels))
    return lambda rows: _gather(images, labels, rows)


@jax.jit
def _gather(images, labels, rows) -> Batch:
    return images[rows], labels[rows]


def padded_batches(split: Split, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Bool[np.ndarray, 'batch']]]:
    """Every example once, in order: images, labels and a mask that is False on the padding of the last batch."""
    for start in range(0, len(split.labels), batch_size):
        images, labels = split.images[start : start + batch_size], split.labels[start : start + batch_size]
        padding = batch_size - len(labels)
        images = np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0)))
        yield images, np.pad(labels, (0, padding)), np.arange(batch_size) < batch_size - padding
