"""Fields of a model that contradict each other, or its images: no such model can be built, or not as it says."""

from ml_collections import ConfigDict

from configs.errors import ConfigError
from configs.fields import defaults, get
from data.spec import Spec
from models.mixers import MIXERS
from models.patches import patch_grid
from models.positions import POSITIONS, AbsolutePositions, has_params, overrides


def check_attention(model: ConfigDict) -> None:
    """Refuses what changes attention where there is none: an arm would be labelled by what it does not do."""
    without = f'model.name={model.name!r}' if model.name == 'resnet' else f'model.mixer={model.mixer!r}'
    has_attention = model.name == 'backbone' and model.mixer == 'attention'
    for field in () if has_attention else ('window', 'attention_scale', 'attention_kernel', 'positions.content'):
        usual = defaults()[f'model.{field}']
        if get(model, field) != usual:
            raise ConfigError(
                f'model.{field}={get(model, field)!r} is about attention, and {without} has none; {usual!r} would do'
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
    usual = defaults()['model.attention_scale']
    if not model.positions.content and model.attention_scale != usual:
        raise ConfigError(
            f'model.attention_scale={model.attention_scale!r} scales the product of queries and keys, and '
            f'model.positions.content=False leaves none; {usual!r} would do'
        )


def check_backbone(model: ConfigDict, spec: Spec) -> None:
    """Raises ConfigError where patches do not tile the images, or parts of a backbone do not fit each other."""
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
    if overrides(variant, 'between') and model.depth == 1:
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


def _or(values: list[int] | list[str]) -> str:
    return ', '.join(map(str, values[:-1])) + ' or ' + str(values[-1]) if len(values) > 1 else str(values[0])
