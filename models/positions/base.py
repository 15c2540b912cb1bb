"""What every positional encoding may do, and `none`, which does nothing."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.patches import Coordinates, Grid

# Queries, keys or values of all tokens.
Heads = Float[Array, 'heads batch tokens head_dim']

# Of each key from each query, row and column, in training patches: centre of the key minus centre of the query.
Offsets = Float[Array | np.ndarray, '*#blocks queries keys 2']


class Shape(NamedTuple):
    """What an encoding is built for."""

    embed_dim: int
    num_heads: int
    grid: Grid  # the trained one; a sequence is a grid of one row
    window: int | None = None  # attention's, in tokens; None: all

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def reach(self) -> tuple[int, int]:
        """The largest offset that attention meets on the trained grid, in rows and in columns."""
        rows, columns = (side - 1 if self.window is None else min(side - 1, self.window // 2) for side in self.grid)
        return rows, columns


class Positions(nnx.Module):
    """How tokens learn where they are: four hooks, each of which does nothing by default.

    A variant overrides the hooks it needs. All hooks are functions of coordinates; angles and logits are float32
    whatever the compute type.
    """

    channels_multiple = 1  # embed_dim must be a multiple of this
    head_multiple = 1  # and embed_dim / num_heads of this
    in_attention = False  # acts on queries, keys or logits, so no other mixer can use it
    per_layer = False  # each layer has parameters of its own
    scores_content_free = False  # its scores say where to look without any content
    learned_places = False  # has an entry for each trained place or offset, and so none in between or beyond
    keeps_barriers = False  # says by optimisation barriers what XLA should not work out anew (models.traits)

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        del shape, rngs

    def tokens(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        """Absolute codes, added to the tokens where `positions.inject` says."""
        return x

    def rotate(self, q: Heads, k: Heads, coordinates: Coordinates) -> tuple[Heads, Heads]:
        """Rotary codes: queries and keys, turned by where they are. In every layer."""
        return q, k

    def scores(
        self,
        q: Float[Array, 'heads batch *blocks queries head_dim'] | None,
        k: Float[Array, 'heads batch *blocks keys head_dim'] | None,
        offsets: Offsets,
    ) -> Float[Array, '...'] | float:
        """A term to add to the attention logits, in every layer; a number, equal for all keys, is to add nothing.

        Of shape [heads or 1, batch or 1, *blocks, queries, keys], or [*blocks, queries, keys] for all heads and
        images. There are blocks, or 1 for all of them, where attention is windowed.

        Queries come multiplied by the attention's scale. Windowed attention asks for blocks of queries and the keys
        near each, so a score may read nothing but the offsets, the query and the key. Both are None where attention
        is by position alone (`positions.content`), which asks `scores_content_free` of a variant, and one term for
        all images.
        """
        return 0.0

    def between(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        """A layer after the first block, for codes that depend on what is there."""
        return x


class NoPositions(Positions):
    """`none`: attention sees a set."""


class AbsolutePositions(Positions):
    """A code for each place, added to the token there. A variant says only `codes`."""

    def codes(self, coordinates: Coordinates) -> Float[Array, 'tokens embed']:
        """The code of every token, in float32."""
        raise TypeError(f'{type(self).__name__} must say its codes')

    def tokens(
        self, x: Float[Array, 'batch tokens embed'], coordinates: Coordinates
    ) -> Float[Array, 'batch tokens embed']:
        return x + self.codes(coordinates).astype(x.dtype)


def overrides(variant: type[Positions], hook: str) -> bool:
    """Whether an encoding has a hook of its own: 'tokens', 'rotate', 'scores' or 'between'."""
    return getattr(variant, hook) is not getattr(Positions, hook)


@functools.cache
def has_params(variant: type[Positions]) -> bool:
    """Whether an encoding learns anything, which each layer could have for itself."""
    shape = Shape(math.lcm(variant.channels_multiple, variant.head_multiple), 1, (2, 2))
    drawn = nnx.eval_shape(lambda: variant(shape, rngs=nnx.Rngs(params=0)))
    return bool(jax.tree.leaves(nnx.state(drawn, nnx.Param)))


def scores_by_head(
    positions: Positions,
    q: Float[Array, 'heads batch *blocks queries head_dim'] | None,
    k: Float[Array, 'heads batch *blocks keys head_dim'] | None,
    offsets: Offsets,
    num_heads: int,
) -> Float[Array, 'heads #batch *#blocks queries keys'] | float:
    """What `positions` add to the logits of each head; a float where that is nothing.

    Raises:
      TypeError: the scores have another shape than `Positions.scores` says: they would be broadcast, or fail later.
    """
    scores = positions.scores(q, k, offsets)
    if isinstance(scores, int | float):
        return float(scores)
    returned = scores.shape
    if scores.ndim == offsets.ndim - 1:
        scores = scores[None, None]
    *blocks, queries, keys = offsets.shape[:-1]
    # Blocks may share their offsets, and have scores of their own all the same.
    images, *blocks = (1, *blocks) if q is None else q.shape[1:-2]
    most = num_heads, images, *blocks
    if (
        scores.ndim != offsets.ndim + 1
        or scores.shape[-2:] != (queries, keys)
        or any(size not in (1, all_of_them) for size, all_of_them in zip(scores.shape[:-2], most, strict=True))
    ):
        raise TypeError(
            f'{type(positions).__name__}.scores returns shape {returned} for offsets of shape {offsets.shape}; '
            f'({num_heads} heads, 1 or all images, queries, keys) would do, or (queries, keys) for all heads'
        )
    return jnp.broadcast_to(scores, (num_heads, *scores.shape[1:]))


def sequence_length(coordinates: Coordinates, trained: Grid) -> int:
    """Tokens that a walk along the sequence must reach: the trained ones, those of the grid, and any that are asked.

    What is asked is known of arrays, NumPy's or JAX's. Of coordinates that are being traced (an argument of jax.jit)
    the grids alone are, and places beyond the end of the larger one have the end's code.
    """
    tokens = max(math.prod(trained), math.prod(coordinates.grid))
    if not isinstance(coordinates.order, jax.core.Tracer):
        tokens = max(tokens, math.ceil(np.max(np.asarray(coordinates.order))) + 1)
    return tokens


def positional_parameter(value: Float[Array, '...']) -> nnx.Param:
    """A float32 parameter of an encoding, whatever the compute type."""
    return nnx.Param(jnp.asarray(value, jnp.float32))
