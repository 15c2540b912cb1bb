"""What reaches the terminal beside a command's own words: warnings, and errors that nobody else tells of."""

import functools
import sys
from collections.abc import Callable
from logging import LogRecord

from absl import logging


def hush() -> None:
    """Keeps the rest from it, in this process from now on.

    Of a save that fails Orbax and its event loop log tracebacks, and TensorStore's threads print their own; the command
    tells of it in one line, and the run's log has what was logged.
    """
    logging.use_absl_handler()  # else Python makes a handler of its own at the first warning
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(_is_told_here_alone)
    sys.unraisablehook = functools.partial(_pass_on_unless_late, sys.unraisablehook)


def _is_told_here_alone(record: LogRecord) -> bool:
    of_a_save = record.exc_info and ('orbax' in record.pathname or record.name == 'asyncio')
    return not (of_a_save or record.module == 'config_flags')  # whose findings the command words itself


def _pass_on_unless_late(otherwise: Callable[..., None], raised: 'sys.UnraisableHookArgs') -> None:
    # Orbax closes its event loop when one of its writes failed; TensorStore tells that loop of the others.
    if not (isinstance(raised.exc_value, RuntimeError) and str(raised.exc_value) == 'Event loop is closed'):
        otherwise(raised)
