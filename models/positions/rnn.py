"""Codes that a recurrent network generates, one place after the other."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import AbsolutePositions, Shape, positional_parameter, sequence_length
from models.recurrent import GRU


class RNNPositions(AbsolutePositions):
    """`rnn`: the states of a GRU that walks along the sequence, fed the same learned vector at every step.

    h_0 learned, h_{k+1} = GRU(u, h_k), code p_k = W h_{k+1}: a recurrent generator such as Liu et al. 2020
    (arXiv:2003.09229) set beside tables and sinusoids, the discrete form of their dynamical system. Its parameters do
    not grow with the length. Places between two steps take the codes' linear interpolation. The gates start with
    biases of memories of 2 to `tokens` steps (Tallec & Ollivier 2018, arXiv:1804.11188, "chrono"): without, a GRU
    that reads the same input at every step forgets where it started, and late places have one code. That input, being
    constant, shifts each gate's logit by about 1 as well: a quarter of the memories start longer than the sequence.

    In the authors' code (github.com/xuanqing94/FLOATER) two layers of GRU read the time of the step, 0.01 k, and their
    states, without a map W, are biases of queries, keys and values on top of sinusoids; each of these biases has a
    start of its own in each layer of the model, Xavier-uniform; as with their flow, codes are made anew for every 400th
    batch only. Ours is one layer that reads the same u at every step,
    so that it can walk past the trained numbers; h_0 and u start from N(0, 1), and codes are added to tokens.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        dim = shape.embed_dim
        self.grid = shape.grid
        self.start = positional_parameter(jax.random.normal(rngs.params(), (1, dim)))
        self.drive = positional_parameter(jax.random.normal(rngs.params(), (1, dim)))
        self.gru = GRU(dim, dim, dtype=jnp.float32, rngs=rngs)
        steps = jax.random.uniform(rngs.params(), (dim,), minval=1.0, maxval=max(2.0, math.prod(shape.grid) - 1.0))
        bias = self.gru.inputs.bias
        bias[...] = bias[...].at[dim : 2 * dim].set(jnp.log(steps))  # of the update gate, which keeps what was
        self.project = nnx.Linear(dim, dim, dtype=jnp.float32, rngs=rngs)

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        steps = sequence_length(coordinates, self.grid)
        drive = jnp.broadcast_to(self.drive[...][:, None], (1, steps, self.drive.shape[-1]))
        walk = self.project(self.gru(drive, self.start[...]))[0]
        before = jnp.clip(jnp.floor(coordinates.order), 0, steps - 1).astype(jnp.int32)
        after = jnp.minimum(before + 1, steps - 1)
        share = jnp.clip(coordinates.order - before, 0, 1)[:, None]
        return (1 - share) * walk[before] + share * walk[after]
