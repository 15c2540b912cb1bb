"""A command's arguments, and what is wrong with them, in one line each."""

import os
import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from configs import base
from configs.errors import ConfigError, nearest
from experiment.folder import flatten

OVERRIDE = re.compile(r'--?config\.(?P<field>[^=]+)(=(?P<value>.*))?', re.DOTALL)  # of one field of the config


def parse(argv: list[str]) -> list[str]:
    """Reads the flags, config file included, and returns what is none.

    Raises ConfigError for absl's and ml_collections' many exceptions, and for what they let pass.
    """
    # A shell leaves ~ alone behind a flag's =.
    argv = [re.sub(r'^(--?[\w.]+=)(~.*)', lambda found: found[1] + os.path.expanduser(found[2]), one) for one in argv]
    overrides = {one: found for one in argv if (found := OVERRIDE.fullmatch(one))}
    for override in overrides.values():
        _check_field(override)
    # ml_collections takes None for a text, or for a number that is none.
    unset = [one for one, found in overrides.items() if found['value'] == 'None' and _fields()[found['field']] is None]
    try:
        rest = flags.FLAGS([one for one in argv if one not in unset])
        if 'config' in flags.FLAGS:
            # A config file that could not be read raises only now, when it is looked at.
            config = flags.FLAGS['config'].value
            _check_config(config, argv)
            config.update_from_flattened_dict({overrides[one]['field']: None for one in unset})
            _check_epochs(config, overrides.values())
        return rest
    except Exception as error:  # a config file is code: whatever it raises is its author's to see, in one line
        if 'config' in flags.FLAGS and flags.FLAGS['config'].present and flags.FLAGS['config'].value is None:
            nothing = f'{_written(argv)}: get_config() returns nothing; the config that it made would do'
            raise ConfigError(nothing) from error
        raise ConfigError(describe(error)) from error


def _check_field(override: re.Match) -> None:
    """Refuses what is no field of configs/base.py; ml_collections would say it with a traceback."""
    name, fields = override['field'], _fields()
    below = [field for field in fields if field.startswith(f'{name}.')]
    if below:
        raise ConfigError(f'--config.{name} is a group of fields; one of them would do: {", ".join(below)}')
    if name not in fields:
        raise ConfigError(f'{override[0]}: there is no field {name}; {nearest(name, fields)}')


def _fields() -> dict[str, Any]:
    return flatten(base.get_config().to_dict())


def _check_config(config: Any, argv: list[str]) -> None:
    """Refuses what get_config() made without configs/base.py; the first look at one of its fields raises otherwise."""
    if isinstance(config, ConfigDict) and 'seed' in config and 'train' in config and 'model' in config:
        return
    raise ConfigError(
        f'{_written(argv)}: get_config() returns no experiment; one that starts from configs/base.py would do'
    )


def _written(argv: list[str]) -> str:
    """The flag that names the config file, as it was written."""
    return next((one for one in reversed(argv) if one.lstrip('-').startswith('config=')), '--config')


def _check_epochs(config: ConfigDict, overrides: Iterable[re.Match]) -> None:
    """Refuses epochs that a count of steps, which goes before them, leaves without effect."""
    asked = next((override[0] for override in overrides if override['field'] == 'train.epochs'), None)
    if asked and config.train.steps is not None:
        raise ConfigError(
            f'{asked} changes nothing: train.steps={config.train.steps} goes before it; --config.train.steps=None '
            'beside it would do'
        )


def describe(error: BaseException) -> str:
    """What went wrong, and the line of the config file where it did."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    # ml_collections wraps an error in others, some with a traceback for a text: the first that happened says it best.
    first = chain[-1]
    text = str(first.args[0]) if isinstance(first, KeyError) and first.args else str(first)
    frames = [frame for link in chain for frame in traceback.extract_tb(link.__traceback__)]
    users = [frame for frame in frames if _is_users(Path(frame.filename))]
    if isinstance(first, ConfigError):
        return text
    if isinstance(first, OSError) and not users:
        return f'--config: {text.splitlines()[-1].rpartition("load: ")[2]}'
    if users:
        text = text.partition(' Other fields present')[0]  # a locked ConfigDict prints itself whole after that
        return f'{users[-1].filename}:{users[-1].lineno}: {type(first).__name__}: {text}'
    return str(error)


def _is_users(path: Path) -> bool:
    return path.is_file() and 'site-packages' not in path.parts and path.resolve() != Path(__file__).resolve()
