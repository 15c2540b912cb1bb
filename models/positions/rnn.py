"""Codes that a recurrent network generates, one place after the other."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter
from models.recurrent import GRU


class RNNPositions(AbsolutePositions):
    """`rnn`: the states of a GRU that walks along the sequence, fed the same learned vector at every step.

    h_0 learned, h_{k+1} = GRU(u, h_k), code p_k = W h_{k+1}: the recurrent generator that Liu et al. 2020
    (arXiv:2003.09229, section 3) set beside tables and sinusoids; the GRU is the discrete form of their dynamical
    system. Its parameters do not grow with the length and the walk can go on past the trained one. Places between
    two steps take the codes' linear interpolation.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        dim = shape.embed_dim
        self.trained_tokens = math.prod(shape.grid)
        self.start = positional_parameter(jax.random.normal(rngs.params(), (1, dim)))
        self.drive = positional_parameter(jax.random.normal(rngs.params(), (1, dim)))
        self.gru = GRU(dim, dim, dtype=jnp.float32, rngs=rngs)
        self.project = nnx.Linear(dim, dim, dtype=jnp.float32, rngs=rngs)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        # Rescaled coordinates stay within the trained length; extended ones within that of their own grid.
        steps = max(self.trained_tokens, math.prod(coordinates.grid))
        drive = jnp.broadcast_to(self.drive[...][:, None], (1, steps, self.drive.shape[-1]))
        walk = self.project(self.gru(drive, self.start[...]))[0]
        before = jnp.clip(jnp.floor(coordinates.order), 0, steps - 1).astype(jnp.int32)
        after = jnp.minimum(before + 1, steps - 1)
        share = jnp.clip(coordinates.order - before, 0, 1)[:, None]
        return (1 - share) * walk[before] + share * walk[after]
