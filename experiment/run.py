"""One run, from its config to its result."""

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import data
from experiment import environment, folder
from experiment.validate import validate
from training.log import Row
from training.loop import Diverged, train


def execute(config: ConfigDict, workdir: Path, report: Callable[[Row, int], None]) -> dict[str, Any]:
    """Trains `config` in `workdir`, and returns its result: at once if that is there already.

    A result has status 'finished' or 'diverged'; the latter has no scores, and the step by which it happened.

    Raises:
      ConfigError: the config cannot run, or the folder cannot hold it; nothing was written.
    """
    validate(config)
    folder.refuse_others(workdir, config)
    finished = folder.read_result(workdir)
    if finished is not None:
        return finished
    dataset = load_data(config.data)
    folder.open_run(workdir, config)
    made_by = {'git': environment.git(), 'versions': environment.versions(), 'device': environment.device()}
    with _logged_to(workdir / folder.LOG):
        try:
            outcome = {'status': 'finished'} | train(config, dataset, workdir, report)
        except Diverged as error:
            outcome = {'status': 'diverged', 'diverged_step': error.step}
    result = {'status': outcome.pop('status'), 'config': json.loads(config.to_json()), 'seed': config.seed}
    result |= made_by | outcome
    folder.write_json(workdir / folder.RESULT, result)
    return result


def load_data(config: ConfigDict) -> data.Dataset:
    """`data.load`, once for the runs of a sweep that share their data."""
    return _load(config.to_json())


@functools.lru_cache(maxsize=2)
def _load(fields: str) -> data.Dataset:
    return data.load(ConfigDict(json.loads(fields)))


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Copies warnings, of ours and of the libraries, to the run's log."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
