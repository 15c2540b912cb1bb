"""Patches -> [mixer + MLP] x depth -> pool -> head: one backbone for every arm, in which the mixer alone differs."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from models.dropout import dropout
from models.layers import Dense, LayerNorm, gelu
from models.mixers import Seen, Tokens, build_mixer
from models.patches import Coordinates, PatchEmbedding, grid_coordinates, patch_grid
from models.positions import POSITIONS, Positions, Shape


class MLP(nnx.Module):
    """Two dense layers with a GELU between them."""

    def __init__(self, embed_dim: int, hidden: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.expand = Dense(embed_dim, hidden, dtype=dtype, rngs=rngs)
        self.contract = Dense(hidden, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(self, x: Tokens) -> Tokens:
        return self.contract(gelu(self.expand(x)))


class Block(nnx.Module):
    """A pre-norm residual block (Xiong et al. 2020, arXiv:2002.04745): tokens mix, then each thinks by itself."""

    def __init__(self, config: ConfigDict, layer: int, *, dtype: DTypeLike, rngs: nnx.Rngs, of_mixers: nnx.Rngs):
        dim = config.embed_dim
        self.norm_mixer = LayerNorm(dim)
        self.mixer = build_mixer(config, dtype=dtype, rngs=of_mixers)
        self.norm_mlp = LayerNorm(dim)
        self.mlp = MLP(dim, round(config.mlp_ratio * dim), dtype=dtype, rngs=rngs)
        self.layer, self.dropout = layer, config.dropout
        # Stochastic depth (Huang et al. 2016, arXiv:1603.09382) as timm has it, and DeiT (Touvron et al. 2021,
        # arXiv:2012.12877): rates rise from 0 in the first block, where Huang et al.'s eq. 4 gives it a share too, and
        # each branch has a draw for each image, shared by tokens and channels; theirs is for a block and a batch.
        self.drop_path = config.stochastic_depth * layer / max(1, config.depth - 1)

    def __call__(
        self, x: Tokens, positions: Positions, coordinates: Coordinates, key: PRNGKeyArray | None
    ) -> tuple[Tokens, Seen]:
        mixed, seen = self.mixer(self.norm_mixer(x), positions, coordinates)
        x = x + self._drop(mixed, key, 0)
        return x + self._drop(self.mlp(self.norm_mlp(x)), key, 2), seen

    def _drop(self, x: Tokens, key: PRNGKeyArray | None, stream: int) -> Tokens:
        stream += 1 + 4 * self.layer  # the backbone's own is 0
        x = dropout(x, self.dropout, key, stream)
        return dropout(x, self.drop_path, key, stream + 1, shared=(1, 2))


def _rematerialised(
    block: Block, x: Tokens, positions: Positions, coordinates: Coordinates, key: PRNGKeyArray | None
) -> tuple[Tokens, Seen]:
    """The block; the backward pass computes anew what is inside (Chen et al. 2016, arXiv:1604.06174)."""
    graph, state = nnx.split((block, positions))

    @jax.checkpoint
    def pure(state, x, key):
        block, positions = nnx.merge(graph, state)
        return block(x, positions, coordinates, key)

    return pure(state, x, key)


def build_positions(config: ConfigDict, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs) -> list[Positions]:
    """The positional encodings of a backbone, one for all layers or one a layer; `config` is `config.model`."""
    variant = POSITIONS[config.positions.name]
    copies = config.depth if config.positions.inject == 'every_layer' or variant.per_layer else 1
    shape = Shape(config.embed_dim, config.num_heads, patch_grid(image_shape, config.patch_size), config.window)
    return [variant(shape, rngs=rngs) for _ in range(copies)]


def of_layer(positions: Sequence[Positions], layer: int) -> Positions:
    """The one of `build_positions` that a layer, from 0, has."""
    return positions[layer % len(positions)]


class Backbone(nnx.Module):
    """The patch model of every arm."""

    def __init__(
        self,
        config: ConfigDict,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        dim, depth = config.embed_dim, config.depth
        # Mixers and positions draw apart from the rest, and from each other: arms that differ in one of them, or in
        # how much it draws, start from the same weights in all else, so that a seed pairs them.
        rngs, of_mixers, of_positions = (nnx.Rngs(params=rngs.params()) for _ in range(3))
        self.grid = patch_grid(image_shape, config.patch_size)
        self.inject, self.remat = config.positions.inject, config.remat
        self.patches = PatchEmbedding(config.patch_size, image_shape[-1], dim, dtype=dtype, rngs=rngs)
        self.positions = nnx.List(build_positions(config, image_shape, rngs=of_positions))
        self.dropout = config.dropout
        self.blocks = nnx.List(
            [Block(config, layer, dtype=dtype, rngs=rngs, of_mixers=of_mixers) for layer in range(depth)]
        )
        self.norm = LayerNorm(dim)
        self.head = Dense(dim, num_classes, dtype=jnp.float32, rngs=rngs)

    def __call__(
        self,
        images: Float[Array, 'batch height width channels'],
        coordinates: Coordinates | None,
        key: PRNGKeyArray | None,
    ) -> tuple[Float[Array, 'batch classes'], dict[str, list[Array]]]:
        """Class logits, and what can be captured: the tokens after each block, and what its mixer lets be seen."""
        if coordinates is None:
            coordinates = grid_coordinates(patch_grid(images.shape[1:], self.patches.patch_size), self.grid)
        x = self.patches(images)
        if len(coordinates.centres) != x.shape[1] or math.prod(coordinates.grid) != x.shape[1]:
            raise ValueError(
                f'{len(coordinates.centres)} coordinates on a grid of {coordinates.grid} for {x.shape[1]} tokens'
            )
        captured: dict[str, list[Array]] = {'tokens': []}
        run = _rematerialised if self.remat else Block.__call__
        for layer, block in enumerate(self.blocks):
            positions = of_layer(self.positions, layer)
            if layer == 0 or self.inject != 'stem':
                x = positions.tokens(x, coordinates)
            if layer == 0:
                x = dropout(x, self.dropout, key, stream=0)
            x, seen = run(block, x, positions, coordinates, key)
            if layer == 0:
                x = positions.between(x, coordinates)
            captured['tokens'].append(x)
            for name, value in seen.items():
                captured.setdefault(name, []).append(value)
        pooled = jnp.mean(self.norm(x), axis=1)
        return self.head(pooled), captured
