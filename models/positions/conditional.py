"""Codes that depend on what is there: a convolution whose zero padding tells where the borders are."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.convolve import convolve
from models.patches import Coordinates, raster_order
from models.positions.base import Positions, Shape


class ConditionalPositions(Positions):
    """`conditional`: x + a 3 x 3 depthwise convolution of x over the grid, after the first block.

    The positional encoding generator (PEG) of Chu et al. 2021 (CPVT, arXiv:2102.10882), where they put it by default:
    y = x + W * x over the image that the tokens make, W of 3 x 3 a channel, zeros beyond the border. It reads which
    tokens are neighbours, so any grid will do, and coordinates only for the order that the tokens stand in.
    Parameters: 10 x embed_dim.
    """

    keeps_barriers = True  # its depthwise convolution does

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        dim = shape.embed_dim
        self.conv = nnx.Conv(dim, dim, (3, 3), feature_group_count=dim, conv_general_dilated=convolve, rngs=rngs)

    def between(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        order = raster_order(coordinates)
        image = x if order is None else jnp.take(x, order, axis=1)
        codes = self.conv(image.reshape(x.shape[0], *coordinates.grid, x.shape[-1]))
        codes = codes.reshape(x.shape).astype(x.dtype)
        return x + (codes if order is None else jnp.take(codes, jnp.argsort(order), axis=1))
