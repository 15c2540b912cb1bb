"""The numbers of positional encodings that are drawn as maps: of each place, of each offset, or of each weight."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from analysis.drawing.maps import MOST_HEADS, evenly
from analysis.heads.trained import Trained
from models.patches import Grid, grid_coordinates
from models.positions import AbsolutePositions, Positions, Shape, scores_by_head
from models.positions.conditional import ConditionalPositions
from models.positions.relative import RelativeVectors
from models.positions.rotary import Rotary

Encodings = list[Positions]
States = dict[str, Encodings]  # by whether they are of before or after training
Map = Float[np.ndarray, '_rows _columns']  # of some size, whatever that of others
Maps = Float[np.ndarray, 'heads rows columns']


def by_state(states: States, maps: Callable[[Positions], Maps]) -> dict[str, dict[str, Maps]]:
    """For each state, the maps of its layers by their names; one name for all where they share an encoding."""
    return {
        state: {'' if len(each) == 1 else f'layer {layer}': maps(each[layer]) for layer in evenly(len(each))}
        for state, each in states.items()
    }


def head_dim(trained: Trained) -> int:
    """Channels of a head, read from the params, since a width may have been solved for."""
    return trained.params['blocks'][0]['mixer']['out']['kernel'].shape[0] // trained.config.model.num_heads


def reach(trained: Trained) -> tuple[int, int]:
    """The largest offset of a key from a query, in rows and in columns, that the grid and the window leave."""
    model = trained.config.model
    return Shape(model.embed_dim, model.num_heads, trained.grid, model.window).reach


def code_map(encoding: AbsolutePositions, grid: Grid) -> Float[np.ndarray, 'rows columns']:
    """The cosines of the codes of all places: at each place a map of that one's; of a single line, as a matrix."""
    cosines = _cosines(np.asarray(encoding.codes(grid_coordinates(grid)), np.float32))
    if 1 in grid:
        return cosines
    return cosines.reshape(*grid, *grid).transpose(0, 2, 1, 3).reshape(grid[0] ** 2, grid[1] ** 2)


def score_maps(encoding: Positions, trained: Trained) -> Maps:
    """What is added to a logit, by the offset of the key from the query: none is in the middle; NaN: never met."""
    offsets, heads = _offsets(trained.grid), trained.config.model.num_heads
    scores = np.asarray(scores_by_head(encoding, None, None, offsets.reshape(1, -1, 2), heads))
    return _where_seen(scores[:, 0, 0].reshape(-1, *offsets.shape[:2]), trained)


def rotary_maps(encoding: Rotary, trained: Trained) -> Maps:
    """The mean cosine over pairs of channels, read off what the encoding does to equal queries and keys.

    By offset, as `score_maps`.
    """
    model, grid = trained.config.model, trained.grid
    offsets = tuple(2 * side - 1 for side in grid)
    channels = head_dim(trained)
    ones = jnp.ones((model.num_heads, 1, offsets[0] * offsets[1], channels))
    turned, _ = encoding.rotate(ones, ones, grid_coordinates(offsets))
    middle = turned.shape[2] // 2
    products = jnp.einsum('hd,htd->ht', turned[:, 0, middle], turned[:, 0]) / channels
    return _where_seen(np.asarray(products).reshape(-1, *offsets), trained)


def kernel_maps(encoding: ConditionalPositions) -> Maps:
    """The kernels of the first channels, in place of heads."""
    kernel = np.asarray(encoding.conv.kernel[...])
    return np.moveaxis(kernel[:, :, 0, :MOST_HEADS], -1, 0)


def vector_maps(encoding: RelativeVectors) -> list[Map]:
    """The cosines of the vectors of all offsets, of rows and of columns."""
    return [_cosines(np.asarray(table[...], np.float32)) for table in (encoding.rows, encoding.columns)]


def _where_seen(maps: Maps, trained: Trained) -> Maps:
    """Maps by offset, NaN beyond the window: no query meets a key there, whatever the encoding would say of it."""
    return np.where(np.all(np.abs(_offsets(trained.grid)) <= reach(trained), axis=-1), maps, np.nan)


def _offsets(grid: Grid) -> Float[np.ndarray, 'rows columns 2']:
    """From one end of the grid to the other, both ways."""
    return np.stack(np.meshgrid(*(np.arange(1 - side, side) for side in grid), indexing='ij'), -1).astype(np.float32)


def _cosines(codes: Float[np.ndarray, 'places channels']) -> Float[np.ndarray, 'places places']:
    unit = codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-12)
    return unit @ unit.T
