"""How far and how widely a head looks, how like the others of its layer, and how like a convolution.

A head that looks at the same offset from every query, whatever is there, does what one weight of a convolution does
(analysis.convolution): its fixed-pattern share is 1 and its entropy 0. Uniform attention is a fixed pattern too, with
share 1 and the largest entropy; so read the share beside the entropy, and beside what the uniform pattern explains of
the same head, which stands in the next column.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.scipy.special import entr
from jaxtyping import Array, Float

from analysis.heads.attention import visible
from analysis.heads.patterns import PerHead, Weights, as_weights, fixed_pattern, normalised, overlap, strongest_offset
from models import windows
from models.patches import Grid, grid_coordinates


def attention_distance(weights: Weights, grid: Grid) -> PerHead:
    """How far away a head looks, in patches: the mean of |key - query| over its weights, then queries and images.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7; times the patch size it is in pixels, as there.
    """
    offsets = windows.offsets(grid_coordinates(grid))
    # A sum and no matrix product: those are less than float32 on some accelerators.
    away = jnp.sum(normalised(weights) * jnp.linalg.norm(offsets, axis=-1), axis=-1)
    return jnp.mean(away, axis=(-2, -1))


def attention_entropy(weights: Weights) -> PerHead:
    """How widely a head looks: the entropy of its weights in nats, the mean over queries and images.

    0 for one token, log(tokens) for all of them alike.
    """
    return jnp.mean(jnp.sum(entr(normalised(weights)), axis=-1), axis=(-2, -1))


def likeness(weights: Weights) -> Float[Array, '*layers count count']:
    """How alike the heads of a layer look, in [0, 1]: the mean over queries and images of sum_k min(w_a, w_b).

    One minus the total variation distance; 1 for heads that always look alike, 0 where none looks where another does.
    """
    weights = normalised(weights)
    rows = [
        jnp.mean(jnp.sum(jnp.minimum(weights, weights[..., head : head + 1, :, :, :]), axis=-1), axis=(-2, -1))
        for head in range(weights.shape[-4])
    ]
    return jnp.stack(rows, axis=-2)


def largest_entropy(grid: Grid, window: int | None = None) -> float:
    """The entropy of looking at all visible tokens alike, in nats: the mean of log(tokens visible) over queries."""
    return float(np.mean(np.log(np.sum(visible(grid, window), axis=-1))))


def head_statistics(
    batches: Callable[[], Iterable[Float[Array | np.ndarray, 'layers heads _ tokens tokens']]],
    grid: Grid,
    patch_size: int,
    window: int | None = None,
) -> pd.DataFrame:
    """What is here and in analysis.heads.patterns, a row for each layer and head.

    Args:
      batches: gives all batches of weights, from the start at each call: first the patterns are found, then what
        they explain. However they are cut, sums come first and one division at the end.
      patch_size: pixels.
    Returns:
      Columns layer, head, distance_patches, distance_pixels, entropy (nats), entropy_ratio (to `largest_entropy`; NaN
      where that is 0), fixed_pattern_share, uniform_share (what uniform attention would explain), offset_row,
      offset_column (`strongest_offset`, patches) and offset_weight.
    """
    seen = visible(grid, window)
    uniform = seen / np.sum(seen, axis=-1, keepdims=True)
    mean, entropy, uniform_share = mean_over_images(batches(), lambda batch: _first_pass(batch, uniform))
    mean = mean[..., None, :, :]
    pattern = as_weights(fixed_pattern(mean, grid), grid)
    (share,) = mean_over_images(batches(), lambda batch: _second_pass(batch, pattern))
    distance = np.asarray(attention_distance(mean, grid), np.float64)
    offset, offset_weight = strongest_offset(mean, grid)
    largest = largest_entropy(grid, window)
    layer, head = np.indices(entropy.shape)
    columns = {
        'layer': layer,
        'head': head,
        'distance_patches': distance,
        'distance_pixels': distance * patch_size,
        'entropy': entropy,
        'entropy_ratio': entropy / largest if largest else np.full_like(entropy, np.nan),
        'fixed_pattern_share': share,
        'uniform_share': uniform_share,
        'offset_row': offset[..., 0],
        'offset_column': offset[..., 1],
        'offset_weight': offset_weight,
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


@jax.jit
def _first_pass(batch: Array, uniform: Array) -> tuple[Array, ...]:
    return jnp.mean(normalised(batch), axis=-3), attention_entropy(batch), overlap(batch, uniform)


@jax.jit
def _second_pass(batch: Array, pattern: Array) -> tuple[Array, ...]:
    return (overlap(batch, pattern),)


def mean_over_images(batches: Iterable, statistics: Callable[[Array], tuple[Array, ...]]) -> list[np.ndarray]:
    """The mean of each statistic, itself a mean over a batch's images, over all images; summed in float64."""
    sums, images = None, 0
    for batch in batches:
        weighted = [np.asarray(value, np.float64) * batch.shape[-3] for value in statistics(batch)]
        sums = weighted if sums is None else [total + value for total, value in zip(sums, weighted, strict=True)]
        images += batch.shape[-3]
    return [total / images for total in sums]
