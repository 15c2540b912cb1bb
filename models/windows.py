"""Truncated attention: which tokens are near which, and attention's work cut into blocks of neighbours.

A window is of the grid, as a convolution's kernel is, and reads no coordinates: on a grid of several rows, `window`
w means the w x w tokens around one; on a sequence, a grid of one row, the tokens up to w / 2 before and after.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from models.patches import Coordinates, Grid

# What a block costs beside its logits, in logits: near a fit to 360 timings of tilings of 19 cases, 64 to 4,096 tokens,
# 4 heads of 16, forward and backward, on two busy cores of an x86-64 server. On the same cases what the formula chooses
# took up to a sixth longer than the best that was timed. Other machines and widths were not measured.
COST_OF_TOKEN = 16  # a query or a key that is copied into the block
COST_OF_BLOCK = 500  # its matrix products, however small; at the fit's 300, 64 tokens took a tenth longer than uncut
WORTH_CUTTING = 0.78  # of a mask over all tokens; at 0.8, 64 tokens with w = 3 took a tenth longer than uncut

MOST_CONSTANT_PAIRS = 512**2  # what is known of more pairs of tokens the program works out: it would be a huge constant


class Tiling(NamedTuple):
    """Blocks of queries that cover a grid, each with the keys in reach around it. Rows, then columns."""

    grid: Grid
    block: tuple[int, int]  # queries
    reach: tuple[int, int]  # of a query, each way

    @property
    def count(self) -> tuple[int, int]:
        """Blocks; the last ones may reach over the edge."""
        return _ceil(self.grid[0], self.block[0]), _ceil(self.grid[1], self.block[1])

    @property
    def margin(self) -> tuple[int, int]:
        """Keys around a block, each way: none along an axis that one block covers."""
        rows, columns = (0 if count == 1 else reach for count, reach in zip(self.count, self.reach, strict=True))
        return rows, columns

    @property
    def span(self) -> tuple[int, int]:
        """Keys of a block."""
        return self.block[0] + 2 * self.margin[0], self.block[1] + 2 * self.margin[1]


def sees_all(grid: Grid, window: int) -> bool:
    """Whether every token has every other in its window."""
    return all(window // 2 >= size - 1 for size in grid)


@functools.lru_cache  # every layer asks
def plan(grid: Grid, window: int) -> Tiling | None:
    """The cheapest way to cut a grid into blocks, or None where attention to all tokens under a mask is as cheap."""
    reach = window // 2, window // 2
    tilings = [Tiling(grid, block, reach) for block in itertools.product(*map(_sizes, grid))]
    best = min(tilings, key=_cost)
    return best if _cost(best) < WORTH_CUTTING * _cost(Tiling(grid, grid, reach)) else None


def offsets(coordinates: Coordinates) -> Float[Array | np.ndarray, 'tokens tokens 2']:
    """Of every key from every query: centre of the key minus centre of the query, in training patches.

    A constant for up to 512 tokens whose places are known, so that reading a table there costs one look-up, not four
    (positions.tables.interpolate).
    """
    return _differences(coordinates.centres, coordinates.centres)


def neighbours(grid: Grid, window: int) -> Bool[Array | np.ndarray, 'tokens tokens']:
    """Which key each query may see."""
    places = _places(grid)
    return _within(_differences(places, places), (window // 2, window // 2))


def query_blocks(x: Float[Array, '*lead tokens dim'], tiling: Tiling) -> Float[Array, '*lead blocks queries dim']:
    """Tokens in raster order, as the blocks' queries; zeros beyond the grid."""
    return _blocks(x, tiling, (0, 0))


def key_blocks(x: Float[Array, '*lead tokens dim'], tiling: Tiling) -> Float[Array, '*lead blocks keys dim']:
    """Tokens in raster order, as the keys of each block: those of its queries, and those around; zeros beyond."""
    return _blocks(x, tiling, tiling.margin)


def join_blocks(x: Float[Array, '*lead blocks queries dim'], tiling: Tiling) -> Float[Array, '*lead tokens dim']:
    """The inverse of `query_blocks`."""
    (rows, columns), (height, width), lead = tiling.count, tiling.block, x.shape[:-3]
    x = x.reshape(*lead, rows, columns, height, width, -1)
    x = jnp.swapaxes(x, -4, -3).reshape(*lead, rows * height, columns * width, -1)
    return x[..., : tiling.grid[0], : tiling.grid[1], :].reshape(*lead, np.prod(tiling.grid), -1)


def block_masks(
    tiling: Tiling,
) -> tuple[Bool[Array | np.ndarray, '1 queries keys'], Bool[np.ndarray, 'blocks 1 keys']]:
    """Which of its keys a query of a block may see: those in its window, the same in all blocks, and in the grid.

    Apart, the two stay small; together they would be as large as the logits.
    """
    near = _within(_differences(*_places_in_block(tiling)), tiling.reach)
    inside = [
        (keys >= 0) & (keys < size)
        for size, block, margin in zip(tiling.grid, tiling.block, tiling.margin, strict=True)
        for keys in [np.arange(0, size, block)[:, None] + np.arange(-margin, block + margin)]
    ]
    return near[None], np.kron(*inside)[:, None]


def block_offsets(coordinates: Coordinates, tiling: Tiling) -> Float[Array | np.ndarray, '#blocks queries keys 2']:
    """The offsets of each block's keys from its queries; one for all blocks where the tokens are evenly spaced."""
    step = _even_step(coordinates, tiling.grid)
    if step is not None:
        queries, keys = ((places * step).astype(np.float32) for places in _places_in_block(tiling))
        return _differences(queries, keys)[None]
    centres = jnp.asarray(coordinates.centres)
    return key_blocks(centres, tiling)[:, None] - query_blocks(centres, tiling)[:, :, None]


def dense_weights(
    weights: Float[Array, 'heads batch blocks queries keys'], tiling: Tiling
) -> Float[Array, 'heads batch tokens tokens']:
    """Weights within blocks, as weights of every token on every token."""
    tokens = int(np.prod(tiling.grid))
    # Places beyond the grid get the number after the last token, and are dropped.
    numbers = jnp.arange(1, tokens + 1, dtype=jnp.float32)[:, None]
    queries, keys = (cut(numbers, tiling)[..., 0].astype(jnp.int32) - 1 for cut in (query_blocks, key_blocks))
    queries, keys = (jnp.where(places < 0, tokens, places) for places in (queries, keys))
    empty = jnp.zeros((*weights.shape[:2], tokens, tokens), weights.dtype)
    return empty.at[:, :, queries[:, :, None], keys[:, None, :]].add(weights, mode='drop')


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _sizes(size: int) -> list[int]:
    """Lengths of a block along an axis: all of it, or a power of two: up to a fifth faster than the numbers near it."""
    return [2**power for power in range(size.bit_length()) if 2**power < size] + [size]


def _cost(tiling: Tiling) -> int:
    """In logits."""
    queries, keys, blocks = map(math.prod, (tiling.block, tiling.span, tiling.count))
    return blocks * (queries * keys + COST_OF_TOKEN * (queries + keys) + COST_OF_BLOCK)


def _places(grid: Grid) -> Int[np.ndarray, 'tokens 2']:
    """Row and column of every token."""
    return np.indices(grid).reshape(2, -1).T


def _places_in_block(tiling: Tiling) -> tuple[Int[np.ndarray, 'queries 2'], Int[np.ndarray, 'keys 2']]:
    """Rows and columns of a block's queries and keys, from its first query."""
    return _places(tiling.block), _places(tiling.span) - np.array(tiling.margin)


def _differences(
    queries: Real[Array | np.ndarray, 'queries 2'], keys: Real[Array | np.ndarray, 'keys 2']
) -> Real[Array | np.ndarray, 'queries keys 2']:
    """Key minus query: places or centres."""
    if len(queries) * len(keys) > MOST_CONSTANT_PAIRS:
        queries, keys = jnp.asarray(queries), jnp.asarray(keys)
    return keys[None] - queries[:, None]


def _within(
    differences: Int[Array | np.ndarray, 'queries keys 2'], reach: tuple[int, int]
) -> Bool[Array | np.ndarray, 'queries keys']:
    return (abs(differences[..., 0]) <= reach[0]) & (abs(differences[..., 1]) <= reach[1])


def _blocks(
    x: Float[Array, '*lead tokens dim'], tiling: Tiling, margin: tuple[int, int]
) -> Float[Array, '*lead blocks places dim']:
    """The tokens of each block and of a margin around it."""
    lead, dim = x.shape[:-2], x.shape[-1]
    x = x.reshape(*lead, *tiling.grid, dim)
    axis = len(lead)
    x = _cut(x, axis + 1, tiling.block[1], margin[1])
    x = _cut(x, axis, tiling.block[0], margin[0])
    x = jnp.swapaxes(x, axis + 1, axis + 2)
    return x.reshape(*lead, np.prod(tiling.count), -1, dim)


def _cut(x: Float[Array, '...'], axis: int, block: int, margin: int) -> Float[Array, '...']:
    """[..., size, ...] to [..., blocks, block + 2 margin, ...]: slices that overlap, zeros beyond the ends.

    By slices of the whole, not by a gather, whose gradient would be a scatter.
    """
    count, more = _ceil(x.shape[axis], block), _ceil(2 * margin, block)
    padding = [(0, 0)] * x.ndim
    padding[axis] = (margin, (count + more) * block - margin - x.shape[axis])
    x = jnp.pad(x, padding)
    shape = (*x.shape[:axis], count, block, *x.shape[axis + 1 :])
    shifted = [jnp.reshape(_slice(x, axis, start * block, count * block), shape) for start in range(1 + more)]
    shifted[-1] = _slice(shifted[-1], axis + 1, 0, 2 * margin - (more - 1) * block)
    return jnp.concatenate(shifted, axis + 1)


def _slice(x: Float[Array, '...'], axis: int, start: int, size: int) -> Float[Array, '...']:
    return x[(slice(None),) * axis + (slice(start, start + size),)]


def _even_step(coordinates: Coordinates, grid: Grid) -> Float[np.ndarray, '2'] | None:
    """Rows and columns between one token and the next, if that is known and the same everywhere."""
    if not isinstance(coordinates.centres, np.ndarray):
        return None
    centres = coordinates.centres.reshape(*grid, 2)
    step = (centres[-1, -1] - centres[0, 0]) / np.maximum(np.array(grid) - 1, 1)
    even = centres[0, 0] + np.stack(np.indices(grid), -1) * step
    # float32's own error, and no more: a score may change much within a small offset.
    return step if np.allclose(centres, even, rtol=1e-6, atol=1e-6) else None
