"""How a command starts and how it fails."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from absl import app

from configs.errors import ConfigError
from experiment import arguments
from experiment.garbage import collect_seldom
from experiment.hush import hush
from files.writing import OF_STORAGE, StorageError
from machine.cores import keep_to_limit
from training.interruption import Interrupted, listen

LESS_MEMORY = (
    'train.shares=1, train.accumulate, model.remat=true, and a smaller train.batch_size or train.eval_batch_size '
    'save some'
)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Parses the flags, calls `main`, and exits: with its value, or with one line on stderr and

      2  when a setting cannot work;
      1  when the disk is full or cannot be written, W&B takes nothing, or memory does not suffice;
      130 or 143  when Ctrl-C or SIGTERM ended it, after training was saved;
      141  and no line, when nobody reads what it prints.

    Anything else that is raised is a defect and keeps its traceback.
    """
    keep_to_limit()
    collect_seldom()
    hush()
    listen()
    if hasattr(sys.stdout, 'reconfigure'):  # else the name of a class that a terminal cannot show ends a run in vain
        sys.stdout.reconfigure(errors='backslashreplace')

    def guarded(argv: list[str]) -> int | None:
        if len(argv) > 1:
            _fail(f'{argv[1]!r} is not a flag; flags are written --name=value')
        try:
            from training.sharing.allocator import keep_memory  # imports JAX, which a typing error need not wait for

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
            from training.sharing.allocator import was_refused

            if not was_refused(error):
                raise
            _end(1, f'out of memory ({error}); {LESS_MEMORY}')

    try:
        app.run(guarded, flags_parser=_parse)
    except Interrupted as interrupted:  # in a config file, too
        _end(interrupted.status, f'{interrupted}; the same command resumes from there')


def _parse(argv: list[str]) -> list[str]:
    try:
        return arguments.parse(argv)
    except ConfigError as error:
        _fail(str(error))


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
    command = Path(sys.argv[0])
    name = command.parent.name if command.name == '__main__.py' else command.name  # of a package run by python -m
    # In one piece, so that no other thread's words come in between.
    sys.stderr.write(f'{name}: {" ".join(message.split())}\n')
