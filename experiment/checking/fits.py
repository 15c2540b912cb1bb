"""What cannot fit this machine, told from a config alone: before a module is built or an image made.

Every count is the least that training takes, or evaluation, so nothing that could run is refused; what is near the
limit is tried.
"""

import functools
import math
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

import data
from configs.errors import ConfigError
from configs.fields import get
from data.spec import Spec
from machine import limits
from models.fused import fallback
from models.mixers import MIXERS
from models.patches import patch_grid
from training.placement import parts
from training.strategy import longest_dispatch

MOST_STEPS = 2**31 - 1  # the step counter is an int32, as in every library below
TRAINED = 16  # bytes of a param: itself, its gradient, and AdamW's two moments
RESTORED = 4  # bytes of one that is evaluated
STOP = 100  # bytes of a milestone in the plan of a run: a Python int in a set
RESNET_WEIGHTS = 2724  # of ResNet-18's convolutions at width 1, the stem apart; they grow with its square


@functools.cache
def machine_memory() -> int:
    """Bytes of this machine's memory that this process may take, all devices' included."""
    accelerators = [device for device in jax.devices() if device.platform != 'cpu']
    return limits.memory() + sum((device.memory_stats() or {}).get('bytes_limit', 0) for device in accelerators)


def check_made_images(config: ConfigDict) -> None:
    """Raises ConfigError when images that `config`, an experiment's, has made as it says cannot fit."""
    match config.data.name:
        case 'digit_pairs':
            made, names = config.data.digit_pairs, ('grid', 'train_examples', 'test_examples')
            needed = math.prod(data.spec(config.data).image_shape) * (made.train_examples + made.test_examples)
        case 'synthetic':
            made = config.data.synthetic
            names = ('image_size', 'channels', 'num_classes', 'train_examples', 'test_examples')
            image = made.image_size**2 * made.channels
            needed = 2 * image * (made.train_examples + made.test_examples) + image * made.num_classes
            _refuse(config, 'the confusion matrix', 4 * made.num_classes**2, ['data.synthetic.num_classes'])
        case _:
            return
    _refuse(config, 'the images', needed, [f'data.{config.data.name}.{name}' for name in names])


def check_fits(config: ConfigDict, spec: Spec, *, to_train: bool) -> None:
    """Raises ConfigError when the model of an experiment, or a batch of it, or its plan, cannot fit."""
    height, width, channels = spec.image_shape
    pixels, train = height * width * channels, config.train
    number = np.dtype(train.compute_dtype).itemsize
    _refuse(config, 'a batch of images', number * train.eval_batch_size * pixels, ['train.eval_batch_size'])
    check_model(config, config.model, spec, to_train=to_train)
    if to_train:
        _refuse(config, 'a batch of images', train.batch_size * pixels, ['train.batch_size'])
        _check_steps(config)


def check_model(config: ConfigDict, model: ConfigDict, spec: Spec, *, to_train: bool) -> None:
    """Raises ConfigError when `model` (an experiment's `config.model`, or one made of it) cannot fit."""
    params, each = ('the params in training', TRAINED) if to_train else ('the params', RESTORED)
    if model.name == 'resnet':
        weights = RESNET_WEIGHTS * model.resnet_width**2 + 8 * model.resnet_width * spec.num_classes
        _refuse(config, params, each * weights, ['model.resnet_width'])
        return
    dim, images = model.embed_dim, config.train.batch_size // parts(config)
    tokens = math.prod(patch_grid(spec.image_shape, model.patch_size))
    mixer, side = MIXERS[model.mixer], min(model.patch_size, spec.image_shape[0])  # a patch that tiles is no larger
    of_a_block = 2 * dim * (model.mlp_ratio * dim) + mixer.weights(model)
    weights = model.depth * of_a_block + dim * spec.num_classes + side**2 * spec.image_shape[2] * dim
    fields = ['embed_dim', 'depth', 'mlp_ratio', *(['kernel_size'] if mixer.has_kernel else [])]
    _refuse(config, params, each * weights, [f'model.{field}' for field in fields])
    dtype = np.dtype(config.train.compute_dtype)
    number = dtype.itemsize
    evaluated = number * config.train.eval_batch_size * tokens * dim
    _refuse(config, 'the activations of an evaluation', evaluated, ['train.eval_batch_size', 'model.embed_dim'])
    if not to_train:
        return
    kept = number * images * tokens * dim * model.depth  # what each block was given, which even model.remat keeps
    _refuse(config, 'the activations of a step', kept, ['train.batch_size', 'model.embed_dim', 'model.depth'])
    writes_weights = model.attention_kernel == 'xla' or fallback(model, spec.image_shape, dtype)
    if model.mixer == 'attention' and model.window is None and writes_weights:
        alike = 1 if not model.positions.content else images  # by position alone the weights are one for the batch
        weights = number * alike * model.num_heads * tokens**2
        _refuse(config, "a layer's attention", weights, ['train.batch_size', 'model.num_heads', 'model.patch_size'])


def _check_steps(config: ConfigDict) -> None:
    train = config.train
    field, steps = 'train.steps', train.steps
    if steps is None:
        field, steps = 'train.epochs', train.epochs * _examples(config.data) / train.batch_size
    if steps > MOST_STEPS:
        examples = config.data.train_examples
        beside = '' if field == 'train.steps' or examples is None else f' with data.train_examples={examples}'
        made = f'{field}={get(config, field)}{beside} makes {steps:.4g} steps'
        raise ConfigError(f'{made}; at most {MOST_STEPS:,} would do')
    plan = 12 * steps + STOP * min(config.checkpoint.count, steps)  # a learning rate and its place for each step
    _refuse(config, 'the plan of the steps', plan, [field, 'checkpoint.count'])
    if train.steps_per_dispatch is not None:
        rows = 4 * longest_dispatch(config, max(1, round(steps))) * train.batch_size
        fields = ['train.steps_per_dispatch', 'log.every', 'checkpoint.count', 'train.batch_size']
        _refuse(config, 'the rows of a dispatch', rows, fields)


def _examples(config: ConfigDict) -> int | float:
    """Training examples, about, of an experiment's `config.data`."""
    if config.train_examples is not None:
        return config.train_examples
    return data.examples(config) * (1 - config.validation_fraction) * config.train_fraction


def _refuse(config: ConfigDict, what: str, needed: int | float, fields: Sequence[str]) -> None:
    """Raises ConfigError when `needed` bytes, for `what` the values of `fields` ask for, are more than there are."""
    limit = machine_memory()
    if needed > limit:
        values = ', '.join(f'{field}={get(config, field)}' for field in fields)
        raise ConfigError(
            f'{values}: {what} would take {needed / 2**30:,.0f} GiB at least, of {limit / 2**30:,.1f} GiB that this '
            'machine has; less would do'
        )
