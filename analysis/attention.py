"""The attention of a trained run: its weights, and what they would be by content alone and by position alone."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8
from ml_collections import ConfigDict

import models
from configs.errors import ConfigError
from data.spec import Spec, Split
from experiment import folder
from experiment.validate import validate
from models import Params, windows
from models.attention import hide, softmax
from models.matching import matched
from models.patches import Grid, grid_coordinates, patch_grid
from models.positions import POSITIONS, AbsolutePositions, NoPositions, Shape, scores_by_head
from training.batches import padded_batches
from training.restore import restore_selected

CAPTURED_BYTES = 64 << 20  # attention weights of a batch, all layers together

OfImages = Float[Array, 'layers heads batch tokens tokens']


class Trained(NamedTuple):
    """A run with attention, and the params that its test used."""

    config: ConfigDict
    spec: Spec
    params: Params
    step: int

    @property
    def grid(self) -> Grid:
        return patch_grid(self.spec.image_shape, self.config.model.patch_size)

    @property
    def batch_size(self) -> int:
        """Images whose attention fits CAPTURED_BYTES; at least one."""
        tokens = self.grid[0] * self.grid[1]
        return max(1, CAPTURED_BYTES // (4 * self.config.model.depth * self.config.model.num_heads * tokens**2))


class Parts(NamedTuple):
    """Attention of a batch of images, and what it would be by one of its causes alone: a softmax of each."""

    weights: OfImages
    content: OfImages | None  # of q k^T; None where there is nothing beside it, or nothing of it
    position: Float[Array, 'layers heads #batch tokens tokens'] | None  # of the scores of positions, likewise
    probabilities: Float[Array, 'batch classes']


def load_trained(workdir: Path) -> Trained:
    """The run in `workdir`.

    Raises:
      ConfigError: it has no attention, or no checkpoint that can be read.
    """
    config = folder.read_config(workdir)
    lack = lacks_attention(config)
    if lack:
        raise ConfigError(f'--workdir={workdir}: {lack}; a run with model.mixer=attention would do')
    spec = validate(config, to_train=False)
    _, params, step = restore_selected(config, spec, workdir)
    return Trained(config, spec, params, step)


Load = Callable[[Path], Trained]  # load_trained, or the same with a memory


def lacks_attention(config: ConfigDict) -> str:
    """Why a model has no attention weights; '' where it has."""
    if config.model.name != 'backbone':
        return f'model.name={config.model.name} has no attention weights'
    return '' if config.model.mixer == 'attention' else f'model.mixer={config.model.mixer} has no attention weights'


def lacks_parts(model: ConfigDict) -> str:
    """Why the attention of `model` (an experiment's `config.model`) has no parts; '' where it has two."""
    variant, name = POSITIONS[model.positions.name], model.positions.name
    if not model.positions.content:
        return 'Attention is by position alone here (model.positions.content=False): the weights are all its own.'
    if variant.scores is not NoPositions.scores:
        return ''
    if variant is NoPositions:
        return 'Without positions, attention is by content alone.'
    if issubclass(variant, AbsolutePositions):
        return f'{name} is added to the tokens, so every query and key is made of both, and no part is its own.'
    if variant.rotate is not NoPositions.rotate:
        return f'{name} turns queries and keys, so it changes what content says and says nothing by itself.'
    return f'{name} acts between blocks, not on the logits, so attention is by content alone.'


def spread(split: Split, images: int) -> Split:
    """`images` of a split, or all it has: evenly, since sorted by class the first ones would be no sample of it."""
    total = len(split.labels)
    rows = np.arange(min(images, total)) * total // min(images, total)
    return Split(split.images[rows], split.labels[rows])


def batches_of_weights(trained: Trained, chosen: Split) -> Iterator[OfImages]:
    """The attention weights of `chosen`, batch by batch."""
    program = _compile_weights(model_fields(trained.config), trained.spec)
    for batch, _, mask in padded_batches(chosen, min(len(chosen.labels), trained.batch_size)):
        yield program(trained.params, batch)[:, :, : np.count_nonzero(mask)]


def attention_parts(trained: Trained, images: UInt8[np.ndarray, 'batch height width channels']) -> Parts:
    """`Parts` of a few images."""
    return _compile_parts(model_fields(trained.config), trained.spec)(trained.params, images)


def encodings(model: ConfigDict, spec: Spec, params: Params) -> list[NoPositions]:
    """The positional encodings in `params`, one for all layers or one a layer; `model` is `config.model`."""
    model = matched(model, spec)
    variant = POSITIONS[model.positions.name]
    shape = Shape(model.embed_dim, model.num_heads, patch_grid(spec.image_shape, model.patch_size), model.window)
    graph = nnx.graphdef(nnx.eval_shape(lambda: variant(shape, rngs=nnx.Rngs(0))))
    own = model.positions.inject == 'every_layer' or variant.per_layer
    held = params.get('positions', {})
    return [nnx.merge(graph, held.get(copy, {})) for copy in range(model.depth if own else 1)]


def model_fields(config: ConfigDict) -> str:
    """All that a program depends on beside the data's spec: one program serves all seeds of an arm."""
    return json.dumps({'model': config.model.to_dict(), 'dtype': config.train.compute_dtype}, sort_keys=True)


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
        if not lacks_parts(config):
            variants = encodings(config, spec, params)
            pairs = list(zip(outputs.captured['queries'], outputs.captured['keys'], strict=True))
            alone = [jnp.einsum('hbqd,hbkd->hbqk', q, k, preferred_element_type=jnp.float32) for q, k in pairs]
            scores = [
                scores_by_head(variants[layer % len(variants)], q, k, windows.offsets(coordinates), len(q))
                for layer, (q, k) in enumerate(pairs)
            ]
            content, position = softmax(jnp.stack(alone) + mask), softmax(jnp.stack(scores) + mask)
        return Parts(weights, content, position, jax.nn.softmax(outputs.logits))

    return jax.jit(parts)


def visible(grid: Grid, window: int | None) -> Bool[np.ndarray, 'tokens tokens']:
    """Which tokens each may look at."""
    tokens = grid[0] * grid[1]
    return np.ones((tokens, tokens), bool) if window is None else np.asarray(windows.neighbours(grid, window))
