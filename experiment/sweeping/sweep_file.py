"""Runs the `sweep()` of a config file, which is its author's code."""

import importlib.machinery
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from configs.errors import ConfigError
from experiment.users_code import describe


def load_sweep(path: str, variant: str = '') -> tuple[list[Any], Any]:
    """What the function `sweep` of a config file returns, and its FIGURE, or None; `plan` checks what they hold.

    A `sweep` that takes an argument is given `variant`, what stood after the colon of --config=FILE:VARIANT.

    Raises:
      ConfigError: the file has no sweep(), or it raises; a config file is its author's to mend.
    """
    loader = importlib.machinery.SourceFileLoader('swept_config', path)  # whatever the file's name ends in
    spec = importlib.util.spec_from_loader('swept_config', loader)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, 'sweep'):
            raise ConfigError(f'--config={path} has no sweep(); train.py runs it as a single experiment')
        if not callable(module.sweep):
            raise ConfigError(f'--config={path}: sweep={module.sweep!r:.80}; a function that returns a list would do')
        rows = module.sweep(*_arguments(module.sweep, path, variant))
        if isinstance(rows, dict) or not isinstance(rows, Iterable):
            raise ConfigError(f'--config={path}: sweep() returns {rows!r:.80}; a list of dicts, one a run, would do')
        return list(rows), getattr(module, 'FIGURE', None)
    except (Exception, SystemExit) as error:
        raise ConfigError(describe(error)) from error


def _arguments(sweep: Callable, path: str, variant: str) -> tuple[str, ...]:
    """What sweep() is called with: the variant, if it takes one. Raises ConfigError where it asks for more."""
    signature = inspect.signature(sweep)
    arguments = (variant,) if signature.parameters else ()
    try:
        signature.bind(*arguments)
        return arguments
    except TypeError as error:
        wrong = f'--config={path}: sweep{signature}: {error}; sweep() or sweep(variant) would do'
    raise ConfigError(wrong)  # here, where nothing was raised before it: `describe` tells what was raised first
