"""Rotary codes: queries and keys are turned by where they are, so that their product knows the offset alone."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates
from models.positions.base import Heads, Positions, Shape, positional_parameter

AXIAL_BASE, MIXED_BASE = 100, 10  # those of Heo et al. 2024


def turn(x: Heads, angles: Float[Array, '#heads tokens pairs']) -> Heads:
    """Turns pairs of channels (the i-th of the first half with the i-th of the second) by `angles`, in radians.

    Su et al. 2021 (RoFormer, arXiv:2104.09864), eq. 34, in float32; which channels pair up is immaterial to a
    learned projection.
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cosine, sine = jax.lax.optimization_barrier((jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]))
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1).astype(x.dtype)


class Rotary(Positions):
    """Turns queries and keys by angles that grow with the coordinates. A variant says only how fast."""

    head_multiple = 4
    in_attention = True
    keeps_barriers = True

    def turns(self) -> Float[Array | np.ndarray, '#heads pairs 2']:
        """Radians per row and per column of each pair of channels."""
        raise TypeError(f'{type(self).__name__} must say its turns')

    def rotate(self, q: Heads, k: Heads, coordinates: Coordinates) -> tuple[Heads, Heads]:
        # Sums rather than a matrix product, whose inputs some accelerators round.
        rows, columns = jnp.asarray(coordinates.centres).T[..., None]
        of_rows, of_columns = jnp.moveaxis(self.turns()[:, None], -1, 0)
        angles = rows * of_rows + columns * of_columns
        return turn(q, angles), turn(k, angles)


class RoPEAxial(Rotary):
    """`rope_axial`: half of the pairs of channels turn with the row, half with the column.

    The axial form in Heo et al. 2024 (arXiv:2403.13298), section 3: angles p_y theta_t and p_x theta_t, with
    theta_t = 100^(-t / (head_dim / 4)), t = 0..head_dim / 4 - 1. No parameters.
    """

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        self.quarter = shape.head_dim // 4

    def turns(self) -> Float[np.ndarray, '1 pairs 2']:
        theta = AXIAL_BASE ** (-np.arange(self.quarter, dtype=np.float32) / self.quarter)
        return np.concatenate([theta[:, None] * [1.0, 0.0], theta[:, None] * [0.0, 1.0]])[None].astype(np.float32)


class RoPEMixed(Rotary):
    """`rope_mixed`: every pair of channels turns with the row and the column at once, at learned frequencies.

    RoPE-Mixed of Heo et al. 2024 (arXiv:2403.13298), section 3: angles theta^y_t p_y + theta^x_t p_x, learned per
    head and layer. They start, as in the authors' code, as two orthogonal directions, turned at random for each head,
    with lengths 10^(-t / (head_dim / 4)). Parameters of a layer: heads x head_dim.
    """

    per_layer = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        quarter = shape.head_dim // 4
        lengths = MIXED_BASE ** (-jnp.arange(quarter) / quarter)
        turns = 2 * jnp.pi * jax.random.uniform(rngs.params(), (shape.num_heads, 1))
        angles = jnp.concatenate([turns + jnp.zeros(quarter), turns + jnp.pi / 2 + jnp.zeros(quarter)], axis=-1)
        lengths = jnp.concatenate([lengths, lengths])[:, None]
        self.frequencies = positional_parameter(lengths * jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1))

    def turns(self) -> Float[Array, 'heads pairs 2']:
        return self.frequencies[...]
