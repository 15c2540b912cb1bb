"""Learned tables: a free vector for each trained place."""

import jax
from flax import nnx
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter


class Learned1D(AbsolutePositions):
    """`learned_1d`: one free vector per token of the trained sequence (Dosovitskiy et al. 2021, eq. 1, E_pos).

    Between trained places the table is interpolated bilinearly over the image, as section 3.2 of the same paper
    (arXiv:2010.11929) does for other resolutions; beyond the trained range its edge is repeated. Parameters:
    tokens x embed_dim.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        self.table = positional_parameter(0.02 * jax.random.normal(rngs.params(), (*shape.grid, shape.embed_dim)))

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        rows, columns = coordinates.centres.T - 0.5

        def interpolate(channel: Float[Array, 'rows columns']) -> Float[Array, 'tokens']:
            return map_coordinates(channel, [rows, columns], order=1, mode='nearest')

        return jax.vmap(interpolate, in_axes=-1, out_axes=-1)(self.table[...])
