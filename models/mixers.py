"""What lets tokens exchange information: the experimental variable.

Every mixer is called `(x, positions, coordinates) -> (x, seen)`, where `seen` holds what can be captured of it by name:
attention's weights, queries and keys, and nothing of the others. Convolutions and the GRU know where tokens are by
their own construction: they read the grid, not the coordinates.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models.attention import MultiHeadAttention
from models.convolve import convolve
from models.patches import Coordinates
from models.positions import Positions
from models.recurrent import GRU

Tokens = Float[Array, 'batch tokens embed']
Seen = dict[str, Array]


class Convolution(nnx.Module):
    """A K x K convolution over the patch grid, zero-padded to keep its size; `depthwise` mixes no channels."""

    def __init__(self, embed_dim: int, kernel_size: int, *, depthwise: bool, dtype: DTypeLike, rngs: nnx.Rngs):
        groups = embed_dim if depthwise else 1
        size = (kernel_size, kernel_size)
        self.conv = nnx.Conv(
            embed_dim,
            embed_dim,
            size,
            feature_group_count=groups,
            conv_general_dilated=convolve,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: Tokens, positions: Positions, coordinates: Coordinates) -> tuple[Tokens, Seen]:
        image = x.reshape(x.shape[0], *coordinates.grid, x.shape[-1])
        return self.conv(image).reshape(x.shape), {}


class BidirectionalGRU(nnx.Module):
    """Two GRUs over the raster sequence, one each way, half of the channels each."""

    def __init__(self, embed_dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.forward = GRU(embed_dim, embed_dim // 2, dtype=dtype, rngs=rngs)
        self.backward = GRU(embed_dim, embed_dim // 2, dtype=dtype, rngs=rngs)

    def __call__(self, x: Tokens, positions: Positions, coordinates: Coordinates) -> tuple[Tokens, Seen]:
        return jnp.concatenate([self.forward(x), self.backward(x, reverse=True)], axis=-1), {}


class Identity(nnx.Module):
    """No exchange: each token is classified by itself, and the pooled opinion counts."""

    def __call__(self, x: Tokens, positions: Positions, coordinates: Coordinates) -> tuple[Tokens, Seen]:
        return x, {}


class Mixer(NamedTuple):
    """What `model.mixer` names: how it is made, and what is asked of it elsewhere."""

    build: Callable[..., nnx.Module]  # of config.model, dtype and rngs
    weights: Callable[[ConfigDict], int]  # how many there are at least, biases apart, of config.model
    has_heads: bool = False  # it reads model.num_heads
    has_kernel: bool = False  # it reads model.kernel_size
    channels_multiple: int = 1  # what model.embed_dim must be a multiple of
    convolves: bool = False  # tokens meet in a convolution across channels
    keeps_barriers: bool = False  # it says by optimisation barriers what is worth an array of its own


def _attention(config: ConfigDict, *, dtype: DTypeLike, rngs: nnx.Rngs) -> MultiHeadAttention:
    return MultiHeadAttention(
        config.embed_dim,
        config.num_heads,
        config.attention_scale,
        window=config.window,
        content=config.positions.content,
        kernel=config.attention_kernel,
        dtype=dtype,
        rngs=rngs,
    )


def _convolution(config: ConfigDict, *, depthwise: bool = False, dtype: DTypeLike, rngs: nnx.Rngs) -> Convolution:
    return Convolution(config.embed_dim, config.kernel_size, depthwise=depthwise, dtype=dtype, rngs=rngs)


def _gru(config: ConfigDict, *, dtype: DTypeLike, rngs: nnx.Rngs) -> BidirectionalGRU:
    return BidirectionalGRU(config.embed_dim, dtype=dtype, rngs=rngs)


def _identity(config: ConfigDict, *, dtype: DTypeLike, rngs: nnx.Rngs) -> Identity:
    return Identity()


MIXERS = {
    'attention': Mixer(
        _attention,
        weights=lambda config: (4 if config.positions.content else 2) * config.embed_dim**2,
        has_heads=True,
    ),
    'conv': Mixer(
        _convolution,
        weights=lambda config: config.kernel_size**2 * config.embed_dim**2,
        has_kernel=True,
        convolves=True,
        keeps_barriers=True,
    ),
    'depthwise_conv': Mixer(
        functools.partial(_convolution, depthwise=True),
        weights=lambda config: config.kernel_size**2 * config.embed_dim,
        has_kernel=True,
        keeps_barriers=True,
    ),
    'gru': Mixer(_gru, weights=lambda config: 9 * config.embed_dim**2 // 2, channels_multiple=2),
    'identity': Mixer(_identity, weights=lambda config: 0),
}


def build_mixer(config: ConfigDict, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Module:
    """The mixer that `config` (an experiment's `config.model`) names. Raises ValueError: there is none of that name."""
    if config.mixer not in MIXERS:
        raise ValueError(f'model.mixer={config.mixer!r}: one of {", ".join(MIXERS)}')
    return MIXERS[config.mixer].build(config, dtype=dtype, rngs=rngs)
