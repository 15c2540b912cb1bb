"""Learned tables: free vectors for the trained places."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter
from models.positions.tables import interpolate

SPREAD = 0.02  # standard deviation of what a table starts from, as in ViT's own code


class Learned1D(AbsolutePositions):
    """`learned_1d`: one free vector per token of the trained sequence (Dosovitskiy et al. 2021, eq. 1, E_pos).

    One-dimensional at the trained size alone, where nothing ties a row to the next; anywhere else it is read by the
    centres. Between trained places the table is interpolated over the image, by the location of the patches in it, as
    section 3.2 of the same paper (arXiv:2010.11929) says for other resolutions: bilinearly between centres. (Their code
    zooms the grid, so that the outermost patches of any resolution get the outermost entries.) Beyond the trained range
    its edge is repeated. Parameters: tokens x embed_dim.
    """

    learned_places = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        table = SPREAD * jax.random.normal(rngs.params(), (*shape.grid, shape.embed_dim))
        self.table = positional_parameter(table)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        return interpolate(self.table[...], coordinates.centres - 0.5)


class Learned2D(AbsolutePositions):
    """`learned_2d`: the sum of a free vector for the row and one for the column.

    p(row, column) = R[row] + C[column], the additive factorisation over height and width of Ho et al. 2019 (axial
    transformers, arXiv:1912.12180). Dosovitskiy et al. 2021, appendix D.4, join two of half the width: the case of
    this in which each is zero in the other's half. Interpolated and repeated as `learned_1d`. Parameters:
    (rows + columns) x embed_dim.
    """

    learned_places = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        rows, columns = shape.grid
        self.rows = positional_parameter(SPREAD * jax.random.normal(rngs.params(), (rows, shape.embed_dim)))
        self.columns = positional_parameter(SPREAD * jax.random.normal(rngs.params(), (columns, shape.embed_dim)))

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        places = coordinates.centres - 0.5
        # Each axis is a table of one column or one row, and every place beyond its only entry is that entry.
        return interpolate(self.rows[...][:, None], places) + interpolate(self.columns[...][None], places)
