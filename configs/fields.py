"""The fields of a config by their dotted names, such as model.positions.name."""

import functools
import json
from typing import Any

from ml_collections import ConfigDict

from configs import base


def get(config: ConfigDict, field: str) -> Any:
    """A field, or a group."""
    for name in field.split('.'):
        config = config[name]
    return config


@functools.cache
def type_of(field: str) -> type:
    """The type that a field of configs/base.py has where it is set; of a group, ConfigDict."""
    *groups, name = field.split('.')
    return functools.reduce(ConfigDict.__getitem__, groups, base.get_config()).get_type(name)


def flatten(tree: dict, prefix: str = '') -> dict[str, Any]:
    """{'model': {'depth': 4}} to {'model.depth': 4}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f'{prefix}{name}.')
        else:
            flat[f'{prefix}{name}'] = value
    return flat


@functools.cache
def defaults() -> dict[str, Any]:
    """Every field of configs/base.py and its default; made once, and not to be changed."""
    return flatten(base.get_config().to_dict())


def differences(tree: dict, config: ConfigDict, absent: str = 'nothing') -> list[str]:
    """The fields in which `config` differs from a file's (`tree`), in words; one that is missing is called `absent`."""
    # As a command line has them, because 1, 1.0 and True are equal to Python.
    there, here = (
        {name: repr(value) for name, value in flatten(one).items()} for one in (tree, json.loads(config.to_json()))
    )
    texts = {name: (there.get(name, absent), here.get(name, absent)) for name in sorted(there | here)}
    return [f'{name}={before} there, {now} here' for name, (before, now) in texts.items() if before != now]
