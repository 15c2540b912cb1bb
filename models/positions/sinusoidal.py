"""Sines and cosines: nothing is learned, and any coordinate has a code (Vaswani et al. 2017, section 3.5)."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape

LONGEST_WAVELENGTH = 10_000  # over 2 pi, in tokens


def sinusoid(place: Float[Array | np.ndarray, 'tokens'], dim: int) -> Float[Array, 'tokens dim']:
    """Vaswani et al. 2017 (arXiv:1706.03762), section 3.5, with the sines first and the cosines after them.

    PE(p, 2i) = sin(p / 10000^(2i/dim)), PE(p, 2i+1) = cos(p / 10000^(2i/dim)). The order of the channels is
    immaterial to a linear layer. `dim` must be even.
    """
    wavelengths = LONGEST_WAVELENGTH ** (jnp.arange(0, dim, 2, dtype=jnp.float32) / dim)
    angles = jnp.asarray(place, jnp.float32)[:, None] / wavelengths
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Sinusoidal1D(AbsolutePositions):
    """`sinusoidal_1d`: the sinusoid of a token's place in the raster sequence."""

    channels_multiple = 2

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        self.embed_dim = shape.embed_dim

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        return sinusoid(coordinates.order, self.embed_dim)


class Sinusoidal2D(AbsolutePositions):
    """`sinusoidal_2d`: the sinusoid of the row in half of the channels, that of the column in the other.

    The fixed codes of MoCo v3 (Chen et al. 2021, arXiv:2104.02057, section 5), with Vaswani's wavelengths.
    """

    channels_multiple = 4

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        self.embed_dim = shape.embed_dim

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        rows, columns = jnp.moveaxis(jnp.asarray(coordinates.centres) - 0.5, -1, 0)
        half = self.embed_dim // 2
        return jnp.concatenate([sinusoid(rows, half), sinusoid(columns, half)], axis=-1)
