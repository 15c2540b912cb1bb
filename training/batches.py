"""Which examples each step sees, and where they come from."""

import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Bool, Int, Int32

from data.rows import Rows
from data.spec import Split
from training import population
from training.placement import Placement

# Images and labels, all or by step; and the rows that each step trains on, of all or of its own.
Fed = tuple[jax.Array, jax.Array, Int[np.ndarray, '...']]
Feed = Callable[[Int[np.ndarray, '...']], Fed]

AHEAD = 3  # calls in flight, each with images of its own, beyond which the host waits: they take the device's memory


@functools.lru_cache(maxsize=1024)
def _epoch_orders(seed: int, examples: int) -> Callable[[int], Int32[np.ndarray, 'examples']]:
    """order(epoch) of a run. It keeps two, since most batches that lie across epochs lie across no more of them."""

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> Int32[np.ndarray, 'examples']:
        return np.random.default_rng((seed, epoch)).permutation(examples).astype(np.int32)

    return order


def batch_rows(
    seed: int, step: int, batch_size: int, examples: int, count: int = 1
) -> Int32[np.ndarray, 'count batch']:
    """The rows that `count` steps from `step` (from 0) on train on: a pure function, so a resumed run sees what it
    would have seen, on any backend.

    The steps walk along a sequence of epochs, each an independent permutation, and a batch may lie across two:
    no example is dropped, none comes twice before all came once.
    """
    places = np.arange(step * batch_size, (step + count) * batch_size)
    epochs, offsets = np.divmod(places, examples)
    rows, order = np.empty(len(places), np.int32), _epoch_orders(seed, examples)
    for epoch in range(epochs[0], epochs[-1] + 1):
        here = epochs == epoch
        rows[here] = order(int(epoch))[offsets[here]]
    return rows.reshape(count, batch_size)


def on_device(split: Split) -> bool:
    """Whether the images live on the device; more than fit in memory are gathered on the host, dispatch by dispatch."""
    return not isinstance(split.images, Rows)


def make_feed(split: Split, where: Placement) -> Feed:
    """feed(rows) -> what the training program is called with; gathered images go only where their step is computed."""
    if on_device(split):
        images, labels = jax.device_put((split.images, split.labels), where.images)
        return lambda rows: (images, labels, rows)

    def gather(rows: Int[np.ndarray, '...']) -> Fed:
        images = split.images[rows.ravel()].reshape(*rows.shape, *split.images.shape[1:])
        in_order = np.broadcast_to(np.arange(rows.shape[-1], dtype=np.int32), rows.shape)
        return *jax.device_put((images, split.labels[rows]), where.rows), in_order

    return gather


def fed_to_one(fed: Fed, index: int, size: int) -> Fed:
    """What one member of a population of `size` was fed."""
    images, labels, rows = fed
    if labels.ndim == rows.ndim:
        return population.member(fed, index, size)
    return images, labels, population.member(rows, index, size)


def padded_batches(split: Split, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray, Bool[np.ndarray, 'batch']]]:
    """Every example once, in order, in batches of `batch_size`.

    Yields:
      images [batch, height, width, channels], labels [batch], and a mask that is False on the last batch's padding;
      they may be views of the split, to be read alone.
    """
    for start in range(0, len(split.labels), batch_size):
        images, labels = split.images[start : start + batch_size], split.labels[start : start + batch_size]
        padding = batch_size - len(labels)
        if padding:  # np.pad copies in any case, and 500 photographs are 75 MB
            images, labels = np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0))), np.pad(labels, (0, padding))
        yield images, labels, np.arange(batch_size) < batch_size - padding
