"""How a command starts and how it fails."""

import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict

from configs import base
from configs.errors import OF_STORAGE, ConfigError, StorageError, nearest
from experiment.folder import flatten
from experiment.hush import hush
from training.interruption import Interrupted, listen

LESS_MEMORY = 'train.accumulate, model.remat=true, and a smaller train.batch_size or train.eval_batch_size save some'


def run(main: Callable[[], int | None]) -> NoReturn:
    """Parses the flags, calls `main`, and exits: with its value, or with one line on stderr and

      2  when a setting cannot work;
      1  when the disk is full or cannot be written, or memory does not suffice;
      130 or 143  when Ctrl-C or SIGTERM ended it, after training was saved;
      141  and no line, when nobody reads what it prints.

    Anything else that is raised is a defect and keeps its traceback.
    """
    hush()
    listen()

    def guarded(argv: list[str]) -> int | None:
        if len(argv) > 1:
            _fail(f'{argv[1]!r} is not a flag; flags are written --name=value')
        try:
            from experiment.allocator import keep_memory  # imports JAX, which a typing error need not wait for

            keep_memory()
            status = main()
            sys.stdout.flush()
            return status
        except ConfigError as error:
            _fail(str(error))
        except StorageError as error:
            _end(1, str(error))
        except BrokenPipeError:
            os._exit(128 + signal.SIGPIPE)  # nobody reads any more, as behind `| head`; shells expect no word of it
        except OSError as error:
            if error.errno not in OF_STORAGE:
                raise
            _end(1, str(StorageError.of(Path(error.filename or '.'), error)))
        except Exception as error:
            if not _of_memory(error):
                raise
            _end(1, f'out of memory ({error}); {LESS_MEMORY}')

    try:
        app.run(guarded, flags_parser=_parse)
    except Interrupted as interrupted:  # in a config file, too
        _end(interrupted.status, f'{interrupted}; the same command goes on from there')


def _of_memory(error: Exception) -> bool:
    """Whether NumPy, or XLA on any backend, was refused memory. (What a system kills for it cannot say so.)"""
    import jax

    of_xla = isinstance(error, jax.errors.JaxRuntimeError) and str(error).startswith('RESOURCE_EXHAUSTED')
    return of_xla or isinstance(error, MemoryError)


def _parse(argv: list[str]) -> list[str]:
    """Flags, config file included: absl's and ml_collections' many exceptions, as one line each."""
    # A shell leaves ~ alone behind a flag's =.
    argv = [re.sub(r'^(--?[\w.]+=)(~.*)', lambda found: found[1] + os.path.expanduser(found[2]), one) for one in argv]
    for argument in argv:
        if argument.lstrip('-').startswith('config.') and argument.startswith('-'):
            _check_field(argument.lstrip('-').removeprefix('config.'))
    try:
        rest = flags.FLAGS(argv)
        if 'config' in flags.FLAGS:
            # A config file that could not be read raises only now, when it is looked at.
            _check_config(flags.FLAGS['config'].value, _config_file(argv))
        return rest
    except Exception as error:  # a config file is code: whatever it raises is its author's to see, in one line
        if 'config' in flags.FLAGS and flags.FLAGS['config'].present and flags.FLAGS['config'].value is None:
            _fail(f'{_config_file(argv)}: get_config() returns nothing; the config that it made would do')
        _fail(describe(error))


def _config_file(argv: list[str]) -> str:
    """The flag as it was written."""
    return next((one for one in reversed(argv) if one.lstrip('-').startswith('config=')), '--config')


def _check_config(config: object, written: str) -> None:
    """Refuses what get_config() made without configs/base.py; the first look at one of its fields raises otherwise."""
    if isinstance(config, ConfigDict) and 'seed' in config and 'train' in config and 'model' in config:
        return
    _fail(f'{written}: get_config() returns no experiment; one that starts from configs/base.py would do')


def _check_field(override: str) -> None:
    """Refuses what is no field of configs/base.py; ml_collections would say it with a traceback."""
    name = override.split('=')[0]
    fields = flatten(base.get_config().to_dict())
    below = [field for field in fields if field.startswith(f'{name}.')]
    if below:
        _fail(f'--config.{name} is a group of fields; one of them would do: {", ".join(below)}')
    if name not in fields:
        _fail(f'--config.{override}: there is no field {name}; {nearest(name, fields)}')


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


def _fail(message: str) -> NoReturn:
    _say(message)
    sys.exit(2)


def _end(status: int, message: str) -> NoReturn:
    """Exits at once: a save that failed leaves threads of Orbax that would wait for minutes."""
    _say(message)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _say(message: str) -> None:
    # In one piece, so that no other thread's words come in between.
    sys.stderr.write(f'{Path(sys.argv[0]).name}: {" ".join(message.split())}\n')
