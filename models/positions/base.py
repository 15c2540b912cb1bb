"""What every positional encoding may do, and `none`, which does nothing."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates, Grid


class Shape(NamedTuple):
    """What an encoding is built for."""

    embed_dim: int
    num_heads: int
    grid: Grid  # the trained one


class NoPositions(nnx.Module):
    """`none`: attention sees a set. Also the base class, whose four hooks are each the identity.

    A variant overrides the hooks it needs. All hooks are functions of coordinates; angles and logits are float32
    whatever the compute type.
    """

    channels_multiple = 1  # embed_dim must be a multiple of this

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        del shape, rngs

    def tokens(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        """Absolute codes, added to the tokens where `positions.inject` says."""
        return x

    def rotate(
        self,
        q: Float[Array, 'heads batch tokens head_dim'],
        k: Float[Array, 'heads batch tokens head_dim'],
        coordinates: Coordinates,
    ) -> tuple[Float[Array, 'heads batch tokens head_dim'], Float[Array, 'heads batch tokens head_dim']]:
        """Rotary codes: queries and keys, turned by where they are. In every layer."""
        return q, k

    def scores(
        self,
        q: Float[Array, 'heads batch tokens head_dim'],
        k: Float[Array, 'heads batch tokens head_dim'],
        coordinates: Coordinates,
    ) -> Float[Array, '...'] | float:
        """A term to add to the attention logits [heads, batch, tokens, tokens], after scaling. In every layer."""
        return 0.0

    def between(self, x: Float[Array, 'batch tokens embed'], grid: Grid) -> Float[Array, 'batch tokens embed']:
        """A layer between blocks, for codes that depend on what is there. After every block but the last."""
        return x


class AbsolutePositions(NoPositions):
    """A code for each place, added to the token there. A variant says only `codes`."""

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        """The code of every token, in float32."""
        raise TypeError(f'{type(self).__name__} must say its codes')

    def tokens(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        return x + self.codes(coordinates).astype(x.dtype)


def positional_parameter(value: Float[Array, '...']) -> nnx.Param:
    """A float32 parameter of an encoding, whatever the compute type."""
    return nnx.Param(jnp.asarray(value, jnp.float32))
