"""A command's arguments, and what is wrong with them, in one line each."""

import difflib
import os
import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from configs.errors import ConfigError, nearest
from configs.fields import defaults, type_of
from experiment.users_code import describe, lines_of_users, with_causes

OVERRIDE = re.compile(r'--?config\.(?P<field>[^=]*)(=(?P<value>.*))?', re.DOTALL)  # of one field of the config


def parse(argv: list[str]) -> list[str]:
    """Reads the flags, config file included, and returns what is none.

    Raises ConfigError for absl's and ml_collections' many exceptions, and for what they let pass.
    """
    # A shell leaves ~ alone behind a flag's =.
    argv = [re.sub(r'^(--?[\w.]+=)(~.*)', lambda found: found[1] + os.path.expanduser(found[2]), one) for one in argv]
    if 'config' not in flags.FLAGS:
        return _parsed(argv)
    override = next((one for one in argv if OVERRIDE.fullmatch(one)), None)
    if override and not any(re.match('--?(config|flagfile)(=|$)', one) for one in argv):
        raise ConfigError(f'{override} changes a field of --config, which is missing; --config=FILE would do')
    argv = _joined(argv)
    files = [one for one in _words(argv) if re.match('--?config=', one)]
    if len(files) > 1:  # ml_collections would run the second in what the first defined
        raise ConfigError(f'{files[0]} and {files[1]}: one of them would do')
    argv, unset = _without_nones(argv)
    rest = _parsed(argv)
    config = flags.FLAGS['config'].value
    _check_config(config, argv)
    config.update_from_flattened_dict(unset)
    asked = config_flags.get_override_values(flags.FLAGS['config'])
    asked.update(unset)
    return rest


def _words(argv: list[str]) -> list[str]:
    """Those that may be flags: they end at a word of two dashes."""
    return argv[: argv.index('--')] if '--' in argv else argv


def _joined(argv: list[str]) -> list[str]:
    """The same words, --config FILE as --config=FILE."""
    place = next((place for place, one in enumerate(_words(argv)[:-1]) if one in ('--config', '-config')), None)
    if place is None:
        return argv
    return _joined([*argv[:place], f'{argv[place]}={argv[place + 1]}', *argv[place + 2 :]])


def _without_nones(argv: list[str]) -> tuple[list[str], dict[str, None]]:
    """The words but --config.NAME=None, and the fields that are to be None.

    ml_collections takes None for a text, or for a number that is none. Of several words on a field the last counts.
    """
    overrides = {place: found for place, one in enumerate(_words(argv)) if (found := OVERRIDE.fullmatch(one))}
    for override in overrides.values():
        _check_field(override)
    last = {override['field']: override['value'] for override in overrides.values()}
    unset = {field: None for field, value in last.items() if value == 'None'}
    for field in unset:
        _check_may_be_none(field)
    nones = {place for place, override in overrides.items() if override['value'] == 'None'}
    return [one for place, one in enumerate(argv) if place not in nones], unset


def _parsed(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        if 'config' in flags.FLAGS:
            _raise_kept(flags.FLAGS['config'].value)
        return rest
    except (Exception, SystemExit) as error:  # a config file is code: what it raises is its author's to see in one line
        if isinstance(error, SystemExit) and not lines_of_users([error]):  # --help prints, and ends so
            raise
        if 'config' in flags.FLAGS and flags.FLAGS['config'].present and flags.FLAGS['config'].value is None:
            nothing = f'{_written(argv)}: get_config() returns nothing; the config that it made would do'
            raise ConfigError(nothing) from error
        raise ConfigError(_of_flags(error, argv) or describe(error)) from error


def _of_flags(error: BaseException, argv: list[str]) -> str:
    """What would do in place of a word of `argv` of which absl and ml_collections say only what is wrong; else ''."""
    missing = re.search(r'Flag --(\w+) must have a value other than None', str(error))
    if missing:
        return f'--{missing[1]} is missing; --{missing[1]}={"FILE" if missing[1] == "config" else "FOLDER"} would do'
    refused = [found for one in argv if (found := OVERRIDE.fullmatch(one)) and f'{one}: ' in str(error)]
    if refused and isinstance(error, flags.IllegalFlagValueError):
        return f'{refused[0][0]}: {_values_of(refused[0]["field"])} would do'
    if 'config' not in flags.FLAGS or lines_of_users(with_causes(error)):
        return ''
    if isinstance(error, flags.UnrecognizedFlagError):
        meant = [name for name in defaults() if name.split('.')[-1] == error.flagname.split('.')[-1]]
        return f'--{error.flagname} is no flag; did you mean --config.{meant[0]}?' if meant else ''
    file, _, variant = _written(argv).partition('=')[2].partition(':')
    if variant and 'get_config() takes 0 positional arguments' in str(error):
        return f'{_written(argv)}: get_config() of {file} takes no variant; nothing after the colon would do'
    if "has no attribute 'get_config'" in str(error):
        return f'{_written(argv)}: {file} has no get_config(); a file that has it would do'
    if 'Failed loading config file' in str(error) and 'No such file' in str(error):
        near = difflib.get_close_matches(file, map(str, Path(file).parent.glob('*.py')), n=1)
        return f'{_written(argv)}: there is no such file' + (f'; did you mean {near[0]}?' if near else '')
    return ''


def _raise_kept(config: Any) -> None:
    """Raises the OSError that opening a config file, or a line of it, raised: ml_collections keeps it until something
    of the config is asked for, and then has forgotten the line."""
    kept = vars(config).get('_error') if hasattr(config, '__dict__') else None
    if isinstance(kept, OSError):
        raise kept


def _check_field(override: re.Match) -> None:
    """Refuses what is no field of configs/base.py; ml_collections would say it with a traceback."""
    name, fields = override['field'], defaults()
    below = [field for field in fields if field.startswith(f'{name}.')]
    if below:
        raise ConfigError(f'--config.{name} is a group of fields; one of them would do: {", ".join(below)}')
    if name not in fields:
        raise ConfigError(f'{override[0]}: there is no field {name}; {nearest(name, fields)}')


def _check_may_be_none(field: str) -> None:
    if defaults()[field] is not None:
        raise ConfigError(f'--config.{field}=None: {_values_of(field)} would do')


def _values_of(field: str) -> str:
    return 'true or false' if type_of(field) is bool else f'a value of type {type_of(field).__name__}'


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
