"""A config is checked whole before anything compiles or is written."""

import jax
from ml_collections import ConfigDict

import data
from configs.errors import ConfigError
from data.spec import Spec
from experiment.checking.field_values import check_values
from experiment.checking.fits import check_fits, check_made_images, check_model
from experiment.checking.model_fields import check_attention, check_backbone
from models.matching import reference_arm, width


def validate(config: ConfigDict, *, to_train: bool = True) -> Spec:
    """The dataset's spec, if `config` can be run.

    Args:
      to_train: whether to train it, which asks more of a machine and its packages than to restore what was trained.
    Raises:
      ConfigError: the first thing that cannot work, with the field, its value and what would do.
    """
    _check_jax()
    check_values(config)
    check_made_images(config)
    spec = data.spec(config.data)
    check_fits(config, spec, to_train=to_train)
    _check_data(config, spec)
    if to_train:
        _check_log(config)
    check_attention(config.model)
    if config.model.name == 'backbone':
        check_backbone(config.model, spec)
    if config.model.match:
        _check_match(config, spec, to_train)
    return spec


def _check_jax() -> None:
    if jax.config.jax_enable_x64:
        raise ConfigError('JAX_ENABLE_X64 is set: params, sums and steps are of 32 bits throughout; unset it')


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
            import wandb  # noqa: F401, training.recording.sinks uses it
        except ImportError as error:
            raise ConfigError(
                f'log.wandb={config.log.wandb!r}: the package wandb is not installed; '
                "pip install wandb, or log.wandb='', would do"
            ) from error


def _check_match(config: ConfigDict, spec: Spec, to_train: bool) -> None:
    model = config.model
    try:
        check_model(config, reference_arm(model), spec, to_train=to_train)
        check_backbone(reference_arm(model), spec)
    except ConfigError as error:
        raise ConfigError(f'the reference arm of model.match={model.match!r} cannot be built: {error}') from error
    width(model, spec)
