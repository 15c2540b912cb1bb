"""The attention of a trained run: its weights, and what they would be by content alone and by position alone."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8
from ml_collections import ConfigDict

import models
from analysis.heads.trained import Trained, model_fields
from data.spec import Spec, Split
from models import Params, windows
from models.attention import hide
from models.backbone import build_positions, of_layer
from models.matching import matched
from models.patches import Grid, grid_coordinates, patch_grid
from models.positions import POSITIONS, Positions, overrides, scores_by_head
from models.products import products, softmax
from training.batches import padded_batches

OfImages = Float[Array, 'layers heads batch tokens tokens']


class Parts(NamedTuple):
    """Attention of a batch of images, and what it would be by one of its causes alone: a softmax of each."""

    weights: OfImages
    content: OfImages | None  # of q k^T; None where there is nothing beside it, or nothing of it
    position: Float[Array, 'layers heads #batch tokens tokens'] | None  # of the scores of positions, likewise
    probabilities: Float[Array, 'batch classes']


def has_parts(model: ConfigDict) -> bool:
    """Whether attention is by two causes, content and position, each a term of the logits; `model` is config.model."""
    return model.positions.content and overrides(POSITIONS[model.positions.name], 'scores')


def batches_of_weights(trained: Trained, chosen: Split) -> Iterator[OfImages]:
    """The attention weights of `chosen`, batch by batch."""
    program = _compile_weights(model_fields(trained.config), trained.spec)
    for batch, _, mask in padded_batches(chosen, min(len(chosen.labels), trained.batch_size)):
        yield program(trained.params, batch)[:, :, : np.count_nonzero(mask)]


def attention_parts(trained: Trained, images: UInt8[np.ndarray, 'batch height width channels']) -> Parts:
    """`Parts` of a few images."""
    return _compile_parts(model_fields(trained.config), trained.spec)(trained.params, images)


def encodings(model: ConfigDict, spec: Spec, params: Params) -> list[Positions]:
    """The positional encodings in `params`, one for all layers or one a layer; `model` is `config.model`."""
    made = nnx.eval_shape(lambda: build_positions(matched(model, spec), spec.image_shape, rngs=nnx.Rngs(0)))
    held = params.get('positions', {})
    return [nnx.merge(nnx.graphdef(variant), held.get(copy, {})) for copy, variant in enumerate(made)]


def _build(fields: str, spec: Spec) -> tuple[ConfigDict, models.Model]:
    config = ConfigDict(json.loads(fields))
    return config.model, models.build(config.model, spec, np.dtype(config.dtype))


@functools.lru_cache(maxsize=1)
def _compile_weights(fields: str, spec: Spec) -> Callable[..., OfImages]:
    _, model = _build(fields, spec)
    return jax.jit(
        lambda params, images: jnp.stack(model.apply(params, images, capture=('attention',)).captured['attention'])
    )


@functools.lru_cache(maxsize=1)
def _compile_parts(fields: str, spec: Spec) -> Callable[..., Parts]:
    config, model = _build(fields, spec)
    coordinates = grid_coordinates(patch_grid(spec.image_shape, config.patch_size))
    mask = hide(visible(coordinates.grid, config.window))

    def parts(params: Params, images: Array) -> Parts:
        names = ('attention', 'queries', 'keys') if config.positions.content else ('attention',)
        outputs = model.apply(params, images, capture=names)
        weights, content, position = jnp.stack(outputs.captured['attention']), None, None
        if has_parts(config):
            variants = encodings(config, spec, params)
            pairs = list(zip(outputs.captured['queries'], outputs.captured['keys'], strict=True))
            alone = [products(q, k) for q, k in pairs]
            scores = [
                scores_by_head(of_layer(variants, layer), q, k, windows.offsets(coordinates), len(q))
                for layer, (q, k) in enumerate(pairs)
            ]
            content, position = softmax(jnp.stack(alone) + mask), softmax(jnp.stack(scores) + mask)
        return Parts(weights, content, position, jax.nn.softmax(outputs.logits))

    return jax.jit(parts)


def visible(grid: Grid, window: int | None) -> Bool[np.ndarray, 'tokens tokens']:
    """Which tokens each may look at."""
    tokens = grid[0] * grid[1]
    return np.ones((tokens, tokens), bool) if window is None else np.asarray(windows.neighbours(grid, window))
