"""Each field by itself: that it is there and is none too many, its type, its name among those known, its range."""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.errors import ConfigError, nearest
from configs.fields import defaults, get, type_of
from files.text import shown
from models import MODELS
from models.matching import MATCHES
from models.mixers import MIXERS
from models.positions import POSITIONS
from training.placement import parts

EXPERIMENT = base.get_config()
LONGEST_VALUE = 1024  # characters; a path may be long
LARGEST_NUMBER = 2**63  # numpy and JAX hold no larger ones
LARGEST_FLOAT = 3.4e38  # in float32, in which steps are taken

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
        lambda value: 0 < value < LARGEST_FLOAT,
        ' must be a positive number, and finite in float32',
    ),
    (
        'train.weight_decay train.clip_norm data.augment.crop',
        lambda value: 0 <= value < LARGEST_FLOAT,
        ' must be 0 or a positive number, and finite in float32',
    ),
    ('seed', lambda seed: 0 <= seed < 2**32, ' must be in [0, 2**32)'),
)


def check_values(config: ConfigDict) -> None:
    """Raises ConfigError for the first field of an experiment whose value can work in no config."""
    _check_types(config)
    _check_names(config)
    _check_ranges(config)


def _check_types(config: ConfigDict, group: str = '') -> None:
    """Every field is there, and has the type of its default. A ConfigDict takes a float for an unset int."""
    known = get(EXPERIMENT, group) if group else EXPERIMENT
    for name in sorted({*config} ^ {*known}):
        field = f'{group}.{name}'.lstrip('.')
        if name in config:
            raise ConfigError(f'{field}={shown(config[name])} is no field of configs/base.py; {nearest(name, known)}')
        raise ConfigError(f'{field} is missing; a config that starts from configs/base.py would do')
    for name in known:
        field, value = f'{group}.{name}'.lstrip('.'), config[name]
        if isinstance(value, ConfigDict) and isinstance(known[name], ConfigDict):
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
    unset = value is None and defaults()[field] is None
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
    _one_of('model.attention_scale', config.model.attention_scale, base.ATTENTION_SCALES)
    _one_of('model.attention_kernel', config.model.attention_kernel, base.ATTENTION_KERNELS)
    if config.model.match:
        _one_of('model.match', config.model.match, MATCHES)
    _one_of('model.reference', config.model.reference, MIXERS)
    _one_of('train.compute_dtype', config.train.compute_dtype, base.COMPUTE_DTYPES)
    _one_of('checkpoint.select', config.checkpoint.select, base.SELECTIONS)


def _check_ranges(config: ConfigDict) -> None:
    for fields, fits, said in RANGES:
        for field in fields.split():
            value = get(config, field)
            if value is not None and not fits(value):
                raise ConfigError(f'{field}={value}{said}')
    shares, batch = config.train.shares or 1, config.train.batch_size
    if batch % shares:
        raise ConfigError(f'train.shares={shares} must divide train.batch_size={batch}')
    if batch // shares % parts(config):
        of_a_share = f', over train.shares={shares}' if shares > 1 else ''
        raise ConfigError(
            f'train.accumulate={config.train.accumulate} must divide train.batch_size={batch}{of_a_share}'
        )
