"""A config is checked whole before anything compiles or is written."""

from collections.abc import Iterable
from typing import Any

import jax
from ml_collections import ConfigDict

import data
from configs import base
from configs.errors import ConfigError, nearest
from configs.fields import get, type_of
from data.spec import Spec
from experiment.fits import check_fits, check_made_images, check_model
from files.text import shown
from models import MODELS
from models.attention import SCALES
from models.fused import KERNELS
from models.matching import MATCHES, reference_arm, width
from models.mixers import MIXERS
from models.patches import patch_grid
from models.positions import POSITIONS, AbsolutePositions, NoPositions, has_params

DEFAULTS = base.get_config()
COMPUTE_DTYPES = ('float32', 'bfloat16')
SELECTIONS = ('best', 'last')
LONGEST_VALUE = 1024  # characters; a path may be long
LARGEST_NUMBER = 2**63  # numpy and JAX hold no larger ones

# Fields, which of their numbers can work, and what would do. None, where a field may be None, is no number.
RANGES = (
    (
        'model.kernel_size model.patch_size model.embed_dim model.depth model.num_heads model.resnet_width '
        'model.window train.batch_size train.eval_batch_size train.steps train.shares train.accumulate '
        'train.steps_per_dispatch log.every checkpoint.count checkpoint.keep data.train_examples data.image_size '
        'data.synthetic.image_size data.synthetic.channels data.synthetic.num_classes data.synthetic.train_examples '
        'data.synthetic.test_examples data.digit_pairs.distance data.digit_pairs.train_examples '
        'data.digit_pairs.test_examples',
        lambda count: count >= 1,
        ': 1 or more would do',
    ),
    ('data.digit_pairs.grid', lambda cells: cells >= 2, ' has no room for two digits; 2 or more would do'),
    (
        'model.dropout model.stochastic_depth train.warmup train.label_smoothing',
        lambda share: 0 <= share < 1,
        ' must be in [0, 1)',
    ),
    ('data.train_fraction', lambda share: 0 < share <= 1, ' must be in (0, 1]'),
    ('data.validation_fraction', lambda share: 0 < share < 1, ' must be in (0, 1)'),
    (
        'train.learning_rate train.epochs model.mlp_ratio',
        lambda value: 0 < value < float('inf'),
        ' must be a positive number, and finite',
    ),
    (
        'train.weight_decay train.clip_norm data.augment.crop',
        lambda value: 0 <= value < float('inf'),
        ' must be 0 or a positive number, and finite',
    ),
    ('seed', lambda seed: 0 <= seed < 2**32, ' must be in [0, 2**32)'),
)


def validate(config: ConfigDict, *, to_train: bool = True) -> Spec:
    """The dataset's spec, if `config` can be run.

    Args:
      to_train: whether to train it, which asks more of a machine and its packages than to restore what was trained.
    Raises:
      ConfigError: the first thing that cannot work, with the field, its value and what would do.
    """
    _check_jax()
    _check_types(config)
    _check_names(config)
    _check_ranges(config)
    check_made_images(config)
    spec = data.spec(config.data)
    check_fits(config, spec, to_train=to_train)
    _check_data(config, spec)
    if to_train:
        _check_log(config)
    _check_read(config.model)
    if config.model.name == 'backbone':
        _check_backbone(config.model, spec)
    if config.model.match:
        _check_match(config, spec, to_train)
    return spec


def _check_jax() -> None:
    if jax.config.jax_enable_x64:
        raise ConfigError('JAX_ENABLE_X64 is set: params, sums and steps are of 32 bits throughout; unset it')


def _check_types(config: ConfigDict, group: str = '') -> None:
    """Every field is there, and has the type of its default. A ConfigDict takes a float for an unset int."""
    defaults = get(DEFAULTS, group) if group else DEFAULTS
    for name in sorted({*config} ^ {*defaults}):
        field = f'{group}.{name}'.lstrip('.')
        if name in config:
            raise ConfigError(
                f'{field}={shown(config[name])} is no field of configs/base.py; {nearest(name, defaults)}'
            )
        raise ConfigError(f'{field} is missing; a config that starts from configs/base.py would do')
    for name in defaults:
        field, value = f'{group}.{name}'.lstrip('.'), config[name]
        if isinstance(value, ConfigDict) and isinstance(defaults[name], ConfigDict):
            _check_types(value, field)
            continue
        check_type(field, value)
        if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
            raise ConfigError(f'{field} has {len(str(abs(value)))} digits; a number of 64 bits would do')
        if isinstance(value, str) and (len(value) > LONGEST_VALUE or not value.isprintable()):
            raise ConfigError(
                f'{field}={shown(value)}: a text that prints, of at most {LONGEST_VALUE} characters, would do'
            )


def check_type(field: str, value: Any) -> None:
    """Raises ConfigError where a value is not of the type that `field`, a dotted name of configs/base.py, has there."""
    wanted = type_of(field)
    unset = value is None and get(DEFAULTS, field) is None
    if not unset and not (type(value) is wanted or (wanted is float and type(value) is int)):
        raise ConfigError(f'{field}={shown(value)} is of type {type(value).__name__}; {wanted.__name__} would do')


def _one_of(field: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ConfigError(f'{field}={value!r} is unknown; {nearest(value, allowed)}')


def _check_names(config: ConfigDict) -> None:
    _one_of('model.name', config.model.name, MODELS)
    _one_of('model.mixer', config.model.mixer, MIXERS)
    _one_of('model.positions.name', config.model.positions.name, POSITIONS)
    _one_of('model.positions.inject', config.model.positions.inject, base.INJECTIONS)
    _one_of('model.attention_scale', config.model.attention_scale, SCALES)
    _one_of('model.attention_kernel', config.model.attention_kernel, KERNELS)
    if config.model.match:
        _one_of('model.match', config.model.match, MATCHES)
    _one_of('model.reference', config.model.reference, MIXERS)
    _one_of('train.compute_dtype', config.train.compute_dtype, COMPUTE_DTYPES)
    _one_of('checkpoint.select', config.checkpoint.select, SELECTIONS)


def _check_ranges(config: ConfigDict) -> None:
    for fields, fits, said in RANGES:
        for field in fields.split():
            value = get(config, field)
            if value is not None and not fits(value):
                raise ConfigError(f'{field}={value}{said}')
    shares, batch = config.train.shares or 1, config.train.batch_size
    if batch % shares:
        raise ConfigError(f'train.shares={shares} must divide train.batch_size={batch}')
    if batch // shares % base.parts(config):
        of_a_share = f', over train.shares={shares}' if shares > 1 else ''
        raise ConfigError(
            f'train.accumulate={config.train.accumulate} must divide train.batch_size={batch}{of_a_share}'
        )


def _check_data(config: ConfigDict, spec: Spec) -> None:
    if config.data.augment.flip and not spec.flip:
        raise ConfigError(
            f'data.augment.flip=True: a mirrored image of {spec.name} is of another class or none; False would do'
        )
    sets_size = {'synthetic': 'data.synthetic.image_size', 'digit_pairs': 'data.digit_pairs.grid'}
    if config.data.image_size is not None and config.data.name in data.LOCAL:
        raise ConfigError(
            f'data.image_size={config.data.image_size}: {spec.name} is not resized; leave it None'
            + (f', and set {sets_size[config.data.name]}' if config.data.name in sets_size else '')
        )
    if config.data.augment.crop > min(spec.image_shape[:2]):
        raise ConfigError(
            f'data.augment.crop={config.data.augment.crop} pads more than the image of '
            f'{spec.image_shape[0]} x {spec.image_shape[1]} pixels has'
        )


def _check_log(config: ConfigDict) -> None:
    if len(config.log.wandb) > 128 or set(config.log.wandb) & set('/\\#?%:'):
        raise ConfigError(
            f'log.wandb={config.log.wandb!r}: the name of a project, of at most 128 characters without any of '
            '/ \\ # ? % :, would do'
        )
    if config.log.wandb:
        try:
            import wandb  # noqa: F401, training.sinks uses it
        except ImportError as error:
            raise ConfigError(
                f'log.wandb={config.log.wandb!r}: the package wandb is not installed; '
                "pip install wandb, or log.wandb='', would do"
            ) from error


def _check_backbone(model: ConfigDict, spec: Spec) -> None:
    height, width, _ = spec.image_shape
    if height % model.patch_size or width % model.patch_size:
        fitting = [size for size in range(1, min(height, width) + 1) if height % size == 0 and width % size == 0]
        raise ConfigError(
            f'model.patch_size={model.patch_size} does not tile {spec.name} images of {height} x {width} pixels; '
            f'{_or(fitting)} would do'
        )
    dim = model.embed_dim
    mixer = MIXERS[model.mixer]
    if mixer.has_heads and dim % model.num_heads:
        fitting = [heads for heads in range(1, dim + 1) if dim % heads == 0]
        raise ConfigError(
            f'model.num_heads={model.num_heads} must divide model.embed_dim={dim}; {_or(fitting)} would do'
        )
    if mixer.has_kernel and model.kernel_size % 2 == 0:
        raise ConfigError(
            f'model.kernel_size={model.kernel_size} has no centre; '
            f'{model.kernel_size - 1} or {model.kernel_size + 1} would do'
        )
    if model.stochastic_depth and model.depth == 1:
        raise ConfigError(
            f'model.stochastic_depth={model.stochastic_depth} rises from 0 in the first block, and model.depth=1 '
            'has no other; 0.0 would do'
        )
    _check_positions(model)
    _check_window(model, spec)
    multiples = {
        f'model.positions.name={model.positions.name!r}': POSITIONS[model.positions.name].channels_multiple,
        f'model.mixer={model.mixer!r}': mixer.channels_multiple,
    }
    for why, multiple in multiples.items():
        if dim % multiple:
            fitting = dim + multiple - dim % multiple
            raise ConfigError(f'model.embed_dim={dim} must be a multiple of {multiple} with {why}; {fitting} would do')
    if round(model.mlp_ratio * dim) < 1:
        raise ConfigError(f'model.mlp_ratio={model.mlp_ratio} leaves no hidden channel of model.embed_dim={dim}')


def _check_read(model: ConfigDict) -> None:
    """Refuses what changes attention where there is none: an arm would be labelled by what it does not do."""
    without = f'model.name={model.name!r}' if model.name == 'resnet' else f'model.mixer={model.mixer!r}'
    has_attention = model.name == 'backbone' and model.mixer == 'attention'
    defaults = DEFAULTS.model
    for field in () if has_attention else ('window', 'attention_scale', 'attention_kernel', 'positions.content'):
        if get(model, field) != get(defaults, field):
            raise ConfigError(
                f'model.{field}={get(model, field)!r} is about attention, and {without} has none; '
                f'{get(defaults, field)!r} would do'
            )
    if model.name == 'resnet' and model.remat:
        raise ConfigError(
            "model.remat=True is about the backbone's blocks, and model.name='resnet' has none; False would do"
        )
    if model.name == 'resnet' and model.positions.inject != 'stem':
        raise ConfigError(
            f'model.positions.inject={model.positions.inject!r} is about tokens, and {without} has none; '
            "'stem' would do"
        )
    if not model.positions.content and model.attention_scale != defaults.attention_scale:
        raise ConfigError(
            f'model.attention_scale={model.attention_scale!r} scales the product of queries and keys, and '
            f'model.positions.content=False leaves none; {defaults.attention_scale!r} would do'
        )


def _check_positions(model: ConfigDict) -> None:
    """Refuses what a positional encoding would silently ignore."""
    name, inject = model.positions.name, model.positions.inject
    variant = POSITIONS[name]
    absolute = issubclass(variant, AbsolutePositions)
    if variant.in_attention and model.mixer != 'attention':
        raise ConfigError(
            f'model.positions.name={name!r} acts inside attention, and model.mixer={model.mixer!r} has none; '
            "'none' would do, or an absolute encoding such as 'learned_1d'"
        )
    if inject != 'stem' and not absolute:
        raise ConfigError(
            f'model.positions.inject={inject!r} says where codes are added to tokens, and {name!r} adds none; '
            "leave it 'stem'"
        )
    if inject != 'stem' and model.depth == 1:
        raise ConfigError(f"model.positions.inject={inject!r}: model.depth=1 has one place for codes; 'stem' would do")
    if inject == 'every_layer' and not has_params(variant):
        raise ConfigError(
            f"model.positions.inject='every_layer': {name!r} has no params for a layer to have of its own; "
            "'every_layer_shared' would do"
        )
    if variant.between is not NoPositions.between and model.depth == 1:
        raise ConfigError(
            f'model.depth=1 leaves no place between blocks for model.positions.name={name!r}; 2 or more would do'
        )
    if MIXERS[model.mixer].has_heads and (model.embed_dim // model.num_heads) % variant.head_multiple:
        step = model.num_heads * variant.head_multiple
        fitting = model.embed_dim + step - model.embed_dim % step
        raise ConfigError(
            f'model.embed_dim={model.embed_dim} over model.num_heads={model.num_heads} must be a multiple of '
            f'{variant.head_multiple} with model.positions.name={name!r}; model.embed_dim={fitting} would do'
        )
    if model.mixer == 'attention' and not model.positions.content and not variant.scores_content_free:
        able = [other for other, variant in POSITIONS.items() if variant.scores_content_free]
        raise ConfigError(
            f'model.positions.content=False: by {name!r} alone attention would not know where to look; '
            f'model.positions.name={_or(able)} would do'
        )


def _check_window(model: ConfigDict, spec: Spec) -> None:
    if model.window is None:
        return
    if model.window % 2 == 0 and patch_grid(spec.image_shape, model.patch_size)[0] > 1:
        raise ConfigError(
            f'model.window={model.window} has no centre on a grid; {model.window - 1} or {model.window + 1} would do'
        )


def _check_match(config: ConfigDict, spec: Spec, to_train: bool) -> None:
    model = config.model
    try:
        check_model(config, reference_arm(model), spec, to_train=to_train)
        _check_backbone(reference_arm(model), spec)
    except ConfigError as error:
        raise ConfigError(f'the reference arm of model.match={model.match!r} cannot be built: {error}') from error
    width(model, spec)


def _or(values: list[int] | list[str]) -> str:
    return ', '.join(map(str, values[:-1])) + ' or ' + str(values[-1]) if len(values) > 1 else str(values[0])
