"""One run, from its config to its result."""

import contextlib
import functools
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

import data
from configs.errors import ConfigError
from data.fingerprint import fingerprint
from experiment import environment, folder
from experiment.checking.validate import validate
from experiment.lock import locked
from files.writing import open_own, writing
from training import placement
from training.loop import train
from training.recording import profile
from training.recording.log import Row
from training.saving import checkpoints
from training.saving.resume import SET_ASIDE
from training.track import Member

logger = logging.getLogger(__name__)


def execute(
    config: ConfigDict, workdir: Path, report: Callable[[Row, int], None], *, profiled: bool = False
) -> dict[str, Any]:
    """Trains `config` in `workdir`, and returns its result: at once if that is there already.

    A result has status 'finished' or 'diverged'; the latter has no scores, and the step by which it happened.

    Args:
      profiled: whether to leave a trace of a few steps in `workdir` (training.recording.profile).
    Raises:
      ConfigError: the config cannot run, or the folder cannot hold it; nothing was written.
      StorageError: a file could not be written, or W&B took no rows; what was written before is good.
      Interrupted: a signal came (training.interruption); training saved first.
    """
    if profiled and folder.read_result(workdir) is not None:
        raise ConfigError(f'--profile: the run in {workdir} is finished: no step is left; another folder would do')
    return execute_together([Member(config, workdir, report)], profiled=profiled)[0]


def execute_together(members: Sequence[Member], *, processes: int = 1, profiled: bool = False) -> list[dict[str, Any]]:
    """`execute` of runs that training.loop.train takes as one population.

    Those with a result are left out, unless the others trained together with them before: an interrupted population
    goes on as it was, so that it comes to the same, and their results stay.

    Args:
      processes: how many train on this machine at the same time, this one included.
      profiled: whether to trace a few steps, into the first one's folder.
    """
    for member in members:
        validate(member.config)
        folder.refuse_others(member.folder, member.config)
        _refuse_links(member.folder)
    results = {index: folder.read_result(member.folder) for index, member in enumerate(members)}
    waiting = [index for index, result in results.items() if result is None]
    names = [member.folder.name for member in members]
    begun = [folder.read_population(member.folder) for member in members] if waiting else []
    if names in begun and all(one in (names, None) for one in begun):  # None: it is damaged, or was removed
        waiting = list(results)
    if waiting:
        trained = _train([members[index] for index in waiting], processes, profiled)
        results |= dict(zip(waiting, trained, strict=True))
    return [results[index] for index in range(len(members))]


def _refuse_links(workdir: Path) -> None:
    """Raises ConfigError where a link would have this run move, write or delete what is another's."""
    for name in (checkpoints.FOLDER, SET_ASIDE, profile.FOLDER):
        if (workdir / name).is_symlink():
            raise ConfigError(f'--workdir={workdir}: its {name} is a link; a folder of its own would do')


def _train(members: Sequence[Member], processes: int, profiled: bool) -> list[dict[str, Any]]:
    dataset, fields = data.load_once(members[0].config.data), members[0].config.data.to_json()
    _warn_of_unseen_classes(fields)
    device = environment.device(len(placement.of_training(members[0].config, len(members)).devices))
    made_by = {'git': environment.git(), 'code': environment.code()}
    made_by |= {'data': _fingerprint(fields), 'versions': environment.versions(), 'device': device}
    members = [member._replace(maker=environment.maker(made_by)) for member in members]
    results, ended = [], []
    with contextlib.ExitStack() as stack:
        for member in members:
            folder.make_folder(member.folder)
            stack.enter_context(locked(member.folder))
            folder.open_run(member.folder, member.config)
            with writing(member.folder / folder.FAILED):
                (member.folder / folder.FAILED).unlink(missing_ok=True)
            ended.append(folder.read_result(member.folder))
            stack.enter_context(_logged_to(member.folder / folder.LOG))
        folder.write_population([member.folder for member in members])
        outcomes = train(members, dataset, processes=processes, profiled=profiled)
        for member, outcome, there in zip(members, outcomes, ended, strict=True):
            if there is not None:
                results.append(there)
                continue
            if 'population' in outcome:
                outcome['population']['processes'] = processes
            config = json.loads(member.config.to_json())
            result = {'status': outcome.pop('status'), 'config': config, 'seed': member.config.seed} | made_by | outcome
            results.append(folder.write_result(member.folder, result))
    return results


@functools.lru_cache(maxsize=2)
def _fingerprint(fields: str) -> dict[str, str]:
    return fingerprint(data.load_once(ConfigDict(json.loads(fields))))


@functools.lru_cache(maxsize=2)
def _warn_of_unseen_classes(fields: str) -> None:
    """Once for the runs of a process that share their data."""
    config = ConfigDict(json.loads(fields))
    dataset = data.load_once(config)
    unseen = np.setdiff1d(dataset.test.labels, dataset.train.labels)
    if len(unseen):
        logger.warning(
            'data.name=%s: no training image is of %d of the %d classes of the test; a larger data.train_examples or '
            'data.train_fraction may show them',
            *(config.name, len(unseen), len(np.unique(dataset.test.labels))),
        )


class _RunLog(logging.FileHandler):
    """A file of log records. Where the disk is full they are left out: whoever writes the results there tells of it."""

    def _open(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(os.fdopen(open_own(Path(self.baseFilename)), 'ab'), encoding='utf-8')

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Copies warnings, of ours and of the libraries, to the run's log."""
    with writing(path):
        handler = _RunLog(path)
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
