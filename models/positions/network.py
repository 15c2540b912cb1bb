"""Codes that a feed-forward network makes of coordinates, so any place has one."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter

HIDDEN = 32  # Li et al. 2021's |H|
LENGTH_SCALE = 1.0  # patches; gamma of Li et al. 2021, over which their first codes stay alike


class MLPPositions(AbsolutePositions):
    """`mlp`: a network of one hidden layer reads the coordinates, -1..1 over the trained grid, and says the code.

    The plain form of a code that a network generates, W_2 gelu(W_1 p + b_1) + b_2: what Li et al. 2021
    (arXiv:2106.02795) put Fourier features in front of, since by itself such a network is slow to tell near places
    apart. Parameters: (2 + 1) x embed_dim + (embed_dim + 1) x embed_dim.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        self.grid = shape.grid
        # Of this product some accelerators would round the inputs, which are the coordinates.
        self.expand = nnx.Linear(2, shape.embed_dim, dtype=jnp.float32, precision='highest', rngs=rngs)
        self.contract = nnx.Linear(shape.embed_dim, shape.embed_dim, dtype=jnp.float32, rngs=rngs)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        places = 2 * jnp.asarray(coordinates.centres) / np.array(self.grid, np.float32) - 1
        return self.contract(nnx.gelu(self.expand(places)))


class FourierPositions(AbsolutePositions):
    """`fourier`: sines and cosines of learned projections of the coordinates, through a small network.

    Li et al. 2021 (arXiv:2106.02795), algorithm 1: r = [cos W_r p, sin W_r p] / sqrt(F), code
    gelu(r W_1 + b_1) W_2 + b_2, with W_r drawn from N(0, 1 / gamma^2). Theirs has F = 384 for 768 channels and 32
    hidden units; here F = embed_dim / 2, and gamma is a patch. Parameters:
    F + (F + 1) x 32 + (32 + 1) x embed_dim.
    """

    channels_multiple = 4

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        features = shape.embed_dim // 2
        projection = jax.random.normal(rngs.params(), (2, features // 2)) / LENGTH_SCALE
        self.projection = positional_parameter(projection)
        self.expand = nnx.Linear(features, HIDDEN, dtype=jnp.float32, rngs=rngs)
        self.contract = nnx.Linear(HIDDEN, shape.embed_dim, dtype=jnp.float32, rngs=rngs)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        # A sum rather than a matrix product, whose inputs some accelerators round.
        rows, columns = jnp.asarray(coordinates.centres).T[..., None]
        angles = rows * self.projection[...][0] + columns * self.projection[...][1]
        features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1) / math.sqrt(2 * angles.shape[-1])
        return self.contract(nnx.gelu(self.expand(features)))
