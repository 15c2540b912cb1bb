"""What libraries print of a save that fails, beside the one line in which the command tells of it."""

import sys

from absl import logging


def hush() -> None:
    """Keeps it out of the terminal, from now on; the run's log has what was logged."""
    logging.get_absl_handler().addFilter(lambda record: not (record.exc_info and 'orbax' in record.pathname))
    sys.unraisablehook = _print_unless_late


def _print_unless_late(raised: 'sys.UnraisableHookArgs') -> None:
    # Orbax closes its event loop when one of its writes failed; TensorStore's threads tell that loop of the others.
    if not (isinstance(raised.exc_value, RuntimeError) and str(raised.exc_value) == 'Event loop is closed'):
        sys.__unraisablehook__(raised)
