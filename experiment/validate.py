"""A config is checked whole before anything compiles or is written."""

from collections.abc import Iterable

from ml_collections import ConfigDict

import data
from configs.errors import ConfigError, nearest
from data.spec import Spec
from models import MODELS
from models.attention import SCALES
from models.mixers import MIXERS
from models.positions import INJECTIONS, POSITIONS

COMPUTE_DTYPES = ('float32', 'bfloat16')
SELECTIONS = ('best', 'last')


def validate(config: ConfigDict) -> Spec:
    """The dataset's spec, if `config` can be run.

    Raises:
      ConfigError: the first thing that cannot work, with the field, its value and what would do.
    """
    _check_names(config)
    _check_ranges(config)
    spec = data.spec(config.data)
    _check_data(config, spec)
    if config.model.name == 'backbone':
        _check_backbone(config.model, spec)
    return spec


def _one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ConfigError(f'{field}={value!r} is unknown; {nearest(value, allowed)}')


def _check_names(config: ConfigDict) -> None:
    _one_of('model.name', config.model.name, MODELS)
    _one_of('model.mixer', config.model.mixer, MIXERS)
    _one_of('model.positions.name', config.model.positions.name, POSITIONS)
    _one_of('model.positions.inject', config.model.positions.inject, INJECTIONS)
    _one_of('model.attention_scale', config.model.attention_scale, SCALES)
    _one_of('train.compute_dtype', config.train.compute_dtype, COMPUTE_DTYPES)
    _one_of('checkpoint.select', config.checkpoint.select, SELECTIONS)


def _check_ranges(config: ConfigDict) -> None:
    counts = (
        'model.kernel_size model.patch_size model.embed_dim model.depth model.num_heads model.resnet_width '
        'train.batch_size train.eval_batch_size log.every checkpoint.count checkpoint.keep data.synthetic.image_size '
        'data.synthetic.channels data.synthetic.num_classes data.synthetic.train_examples '
        'data.synthetic.test_examples'
    )
    for field in counts.split():
        if _get(config, field) < 1:
            raise ConfigError(f'{field}={_get(config, field)}: 1 or more would do')
    for field in ('train.steps', 'data.train_examples', 'data.image_size'):
        if _get(config, field) is not None and _get(config, field) < 1:
            raise ConfigError(f'{field}={_get(config, field)}: 1 or more would do')
    for field in ('model.dropout', 'model.stochastic_depth', 'train.warmup', 'train.label_smoothing'):
        if not 0 <= _get(config, field) < 1:
            raise ConfigError(f'{field}={_get(config, field)} must be in [0, 1)')
    if not 0 < config.data.train_fraction <= 1:
        raise ConfigError(f'data.train_fraction={config.data.train_fraction} must be in (0, 1]')
    if not 0 < config.data.validation_fraction < 1:
        raise ConfigError(f'data.validation_fraction={config.data.validation_fraction} must be in (0, 1)')
    for field in ('train.learning_rate', 'train.epochs', 'model.mlp_ratio'):
        if not 0 < _get(config, field) < float('inf'):
            raise ConfigError(f'{field}={_get(config, field)} must be a positive number')
    for field in ('train.weight_decay', 'train.clip_norm', 'data.augment.crop'):
        if not 0 <= _get(config, field) < float('inf'):
            raise ConfigError(f'{field}={_get(config, field)} must be 0 or a positive number')
    if not 0 <= config.seed < 2**32:
        raise ConfigError(f'seed={config.seed} must be in [0, 2**32)')


def _check_data(config: ConfigDict, spec: Spec) -> None:
    if config.data.augment.flip and not spec.flip:
        raise ConfigError(
            f'data.augment.flip=True: a mirrored image of {spec.name} is of another class or none; False would do'
        )
    if config.data.image_size is not None and config.data.name in data.LOCAL:
        raise ConfigError(
            f'data.image_size={config.data.image_size}: {spec.name} is not resized; leave it None'
            + (', and set data.synthetic.image_size' if config.data.name == 'synthetic' else '')
        )
    if config.data.augment.crop > min(spec.image_shape[:2]):
        raise ConfigError(
            f'data.augment.crop={config.data.augment.crop} pads more than the image of '
            f'{spec.image_shape[0]} x {spec.image_shape[1]} pixels has'
        )


def _check_backbone(model: ConfigDict, spec: Spec) -> None:
    height, width, _ = spec.image_shape
    if height % model.patch_size or width % model.patch_size:
        fitting = [size for size in range(1, min(height, width) + 1) if height % size == 0 and width % size == 0]
        raise ConfigError(
            f'model.patch_size={model.patch_size} does not tile {spec.name} images of {height} x {width} pixels; '
            f'{_or(fitting)} would do'
        )
    dim = model.embed_dim
    if model.mixer == 'attention' and dim % model.num_heads:
        fitting = [heads for heads in range(1, dim + 1) if dim % heads == 0]
        raise ConfigError(
            f'model.num_heads={model.num_heads} must divide model.embed_dim={dim}; {_or(fitting)} would do'
        )
    if model.mixer in ('conv', 'depthwise_conv') and model.kernel_size % 2 == 0:
        raise ConfigError(
            f'model.kernel_size={model.kernel_size} has no centre; '
            f'{model.kernel_size - 1} or {model.kernel_size + 1} would do'
        )
    multiples = {f'model.positions.name={model.positions.name!r}': POSITIONS[model.positions.name].channels_multiple}
    if model.mixer == 'gru':
        multiples["model.mixer='gru'"] = 2
    for why, multiple in multiples.items():
        if dim % multiple:
            fitting = dim + multiple - dim % multiple
            raise ConfigError(f'model.embed_dim={dim} must be a multiple of {multiple} with {why}; {fitting} would do')
    if round(model.mlp_ratio * dim) < 1:
        raise ConfigError(f'model.mlp_ratio={model.mlp_ratio} leaves no hidden channel of model.embed_dim={dim}')


def _or(values: list[int]) -> str:
    return ', '.join(map(str, values[:-1])) + ' or ' + str(values[-1]) if len(values) > 1 else str(values[0])


def _get(config: ConfigDict, field: str):
    for name in field.split('.'):
        config = config[name]
    return config
