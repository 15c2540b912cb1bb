"""How much of a head's attention is one fixed pattern of offsets, the same for every query and every image.

A pattern p says of each query that it looks at the key at offset o with weight p(o), renormalised over the offsets that
stay in the grid. A convolution's head has one, and so has every softmax of content-free scores, uniform attention
among them.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import minimize

from models.patches import Grid

RAREST = 1e-8  # share of attention; rarer offsets are scaled as this one, lest a step of theirs be too long
LOWEST_LOG = -200.0  # of p, up to a constant; float32 weights go down to -104

Weights = Float[Array | np.ndarray, '*heads batch tokens tokens']  # of each image: queries, then keys
PerHead = Float[Array | np.ndarray, '*heads']
Pattern = Float[np.ndarray, '*heads row_offsets column_offsets']  # from 1 - rows to rows - 1; columns alike


def fixed_pattern(weights: Weights, grid: Grid) -> Pattern:
    """The one pattern of offsets that explains a head best; it sums to 1 over all offsets.

    This is the one of greatest likelihood: a Bradley-Terry-Luce model of which key is looked at, among those that the
    grid leaves each query (Hunter 2004, doi:10.1214/aos/1079120141). The plain mean of the weights at each offset would
    not do: it takes what queries at the border do, for want of a token at their own offset, for a part of the pattern.
    This one is exact for every softmax of content-free scores, and for a convolution with edge padding. Only the mean
    of `weights` over images matters.
    """
    totals = _by_offset(np.asarray(jnp.mean(normalised(weights), axis=-3)), grid)
    patterns = [_most_likely(total, grid) for total in totals.reshape(-1, *totals.shape[-2:])]
    return np.reshape(patterns, totals.shape)


def strongest_offset(weights: Weights, grid: Grid) -> tuple[Int[np.ndarray, '*heads 2'], Float[np.ndarray, '*heads']]:
    """The offset (rows, columns; in patches) that gets most of a head's attention, and what it gets.

    The latter is the mean weight of the queries that have a token there: 1 where the head looks nowhere else.
    """
    mean = np.asarray(jnp.mean(normalised(weights), axis=-3))
    totals = _by_offset(mean, grid)
    means = totals / _by_offset(np.ones(mean.shape[-2:]), grid)
    # By total and not by mean weight: the largest offsets are those of a few tokens in the corners.
    strongest = np.argmax(totals.reshape(*mean.shape[:-2], -1), axis=-1)
    rows, columns = np.unravel_index(strongest, totals.shape[-2:])
    weight = np.take_along_axis(means.reshape(*mean.shape[:-2], -1), strongest[..., None], axis=-1)[..., 0]
    return np.stack([rows - grid[0] + 1, columns - grid[1] + 1], axis=-1), weight


def as_weights(pattern: Pattern, grid: Grid) -> Float[np.ndarray, '*heads tokens tokens']:
    """What a pattern says of every query."""
    spread = pattern.reshape(*pattern.shape[:-2], -1)[..., _offset_index(grid)]
    return spread / np.sum(spread, axis=-1, keepdims=True)


def overlap(weights: Weights, expected: Float[Array | np.ndarray, '*#heads tokens tokens']) -> PerHead:
    """The mean over queries and images of sum_k min(weights, expected): one minus their total variation distance."""
    least = jnp.minimum(normalised(weights), jnp.asarray(expected, jnp.float32)[..., None, :, :])
    return jnp.mean(jnp.sum(least, axis=-1), axis=(-2, -1))


def normalised(weights: Weights) -> Weights:
    """In float32, and summing to 1, which bfloat16's do within a percent."""
    weights = jnp.asarray(weights, jnp.float32)
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def _offset_index(grid: Grid) -> Int[np.ndarray, 'tokens tokens']:
    """The place of each query and key's offset in a flattened pattern."""
    rows, columns = (np.subtract.outer(places, places).T for places in np.indices(grid).reshape(2, -1))
    return (rows + grid[0] - 1) * (2 * grid[1] - 1) + columns + grid[1] - 1


def _by_offset(weights: Float[np.ndarray, '*heads tokens tokens'], grid: Grid) -> Pattern:
    """Weights of queries on keys, summed by offset, in float64."""
    index, shape = _offset_index(grid).ravel(), (2 * grid[0] - 1, 2 * grid[1] - 1)
    heads = weights.reshape(-1, index.size)
    return np.reshape([np.bincount(index, head, np.prod(shape)) for head in heads], (*weights.shape[:-2], *shape))


def _most_likely(total: Float[np.ndarray, 'rows columns'], grid: Grid) -> Float[np.ndarray, 'rows columns']:
    """`fixed_pattern` of one head, by L-BFGS, from how much attention each offset gets in `total`.

    The likelihood is concave in log p, and its optimum lies at infinity where a query looks at one place only.
    """
    if not np.isfinite(total).all():
        return np.full_like(total, np.nan)
    # Rows and columns of the grid in which a query sees an offset: sums over them replace [tokens, tokens] arrays.
    rows, columns = (_axis_sees(size) for size in grid)
    total = total / np.sum(total)
    seen = total > 0  # what nobody looks at has p = 0, and no logarithm
    observed = total[seen]
    scale = np.sqrt(np.maximum(observed, RAREST))  # in these units the curvature is even, and few steps do

    def spread(scaled: np.ndarray) -> np.ndarray:
        pattern = np.zeros(total.shape)
        pattern[seen] = np.exp(scaled / scale)
        return pattern

    def negative_log_likelihood(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        pattern = spread(scaled)
        sums = rows @ pattern @ columns.T  # of each query
        expected = pattern * (rows.T @ (1 / sums) @ columns) / sums.size
        loss = np.mean(np.log(sums)) - observed @ (scaled / scale)
        return loss, (expected[seen] - observed) / scale

    start = np.log((total / (rows.sum(0)[:, None] * columns.sum(0)))[seen]) * scale
    bounds = np.stack([LOWEST_LOG * scale, -LOWEST_LOG * scale], -1)
    options = {'gtol': 1e-6, 'ftol': 0.0, 'maxiter': 500, 'maxcor': 20}
    found = minimize(negative_log_likelihood, start, jac=True, method='L-BFGS-B', bounds=bounds, options=options)
    pattern = spread(found.x)
    return pattern / np.sum(pattern)


def _axis_sees(size: int) -> Float[np.ndarray, 'size offsets']:
    """1 where an offset, from 1 - size to size - 1, leads from a place of the axis to another."""
    ends = np.add.outer(np.arange(size), np.arange(1 - size, size))
    return ((ends >= 0) & (ends < size)).astype(float)
