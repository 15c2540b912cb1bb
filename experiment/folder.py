"""The run folder: the interface between training and everything after it."""

import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.errors import ConfigError
from configs.fields import defaults, differences, flatten
from files.checksums import read_verified, with_checksum
from files.reading import Damaged, read_own_json
from files.text import clean
from files.writing import PARTIAL, write_json
from training.divergence import NOTE
from training.recording.log import METRICS

CONFIG, RESULT, FAILED, LOG = 'config.json', 'result.json', 'failed.json', 'log.txt'
MANIFEST = 'sweep.json'  # of a sweep's folder
SHOWN = 3  # fields named where a folder holds another config's run
PROBE = 'probe'  # of whether a folder can be written; whoever is killed meanwhile leaves it
POPULATION = 'population.json'  # of a run that trains with others: the names of their folders, its own included

logger = logging.getLogger(__name__)


def write_result(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Writes what a run came to, and returns it as it is read again: with a checksum."""
    result = with_checksum(result)
    write_json(folder / RESULT, result)
    return result


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run that came to its end, or None: then it is still to be run.

    So is one whose result is damaged, as a warning says: the run will come to the same again.

    Raises StorageError: it could not be read just now.
    """
    return _read_sealed(folder / RESULT)


def read_undiverged(workdir: Path) -> dict[str, Any] | None:
    """`read_result` of a run that somebody looks into.

    Raises:
      ConfigError: it diverged. Its checkpoints are of before that, and no table counts them.
    """
    result = read_result(workdir)
    if result and result.get('status') == 'diverged':
        raise ConfigError(f'--workdir={workdir}: the run diverged, and has no params that count; another would do')
    return result


def make_folder(folder: Path) -> None:
    """Makes `folder` unless it is there.

    Raises:
      ConfigError: it cannot be made, or cannot be written to, or its path is none for checkpoints.
    """
    _check_path(folder)
    make_writable(folder, f'--workdir={folder}')


def make_writable(folder: Path, called: str) -> None:
    """Makes `folder`, for whatever it is, unless it is there.

    Args:
      called: what errors call it.
    Raises:
      ConfigError: it cannot be made, or cannot be written to.
    """
    try:
        _refuse_dangling(folder, called)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f'.{PROBE}.{os.getpid()}{PARTIAL}'
        probe.touch()
        probe.unlink(missing_ok=True)  # whoever holds the folder's lock may have cleared it
    except OSError as error:
        raise ConfigError(f'{called}: {error.strerror.lower()}; a folder that can be written would do') from error


def open_run(folder: Path, config: ConfigDict) -> None:
    """Makes `folder` the run of `config`, or finds that it is already.

    Raises:
      ConfigError: it cannot be written, or holds another config's run or something else.
    """
    refuse_others(folder, config)
    make_folder(folder)
    if not (folder / CONFIG).exists():
        write_json(folder / CONFIG, json.loads(config.to_json()))


def write_population(folders: Sequence[Path]) -> None:
    """Writes down which runs train together: an interrupted population goes on as it was."""
    for folder in folders:
        if len(folders) > 1 or (folder / POPULATION).exists():
            write_json(folder / POPULATION, with_checksum({'runs': [other.name for other in folders]}))


def read_population(folder: Path) -> list[str] | None:
    """The names of the runs that the one in `folder` trained with; None: it never trained with others.

    Or, as a warning says, its list is damaged.

    Raises StorageError: they could not be read just now.
    """
    fields = _read_sealed(folder / POPULATION)
    names = fields and fields.get('runs')
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names if folder.name in names and len(set(names)) == len(names) else None


def _read_whole(path: Path) -> dict | None:
    """What a file says; None: it is missing or damaged. Raises StorageError: it could not be read just now."""
    try:
        return read_own_json(path)
    except Damaged:
        return None


def _read_sealed(path: Path) -> dict | None:
    """What a file with a checksum says; None: it is missing or, as a warning says, damaged.

    Raises StorageError: it could not be read just now.
    """
    try:
        return read_verified(path)
    except Damaged as error:
        logger.warning('%s is damaged: it %s; the run continues as if it were not there', path, error)
        return None


def refuse_others(folder: Path, config: ConfigDict) -> None:
    """Refuses a `folder` that holds something else than the run of `config`; writes nothing.

    Raises:
      ConfigError: it does, or it cannot be written.
      StorageError: its config could not be read just now.
    """
    _check_writable(folder)
    if not (folder / CONFIG).exists():
        if (folder / MANIFEST).exists() or (folder / RESULT).exists():
            raise ConfigError(f'--workdir={folder} holds something else than one run; another folder would do')
        runs = _runs_in(folder)
        if runs:  # tables would take the folder for this one run, and not see the others
            raise ConfigError(f'--workdir={folder} holds other runs, such as {runs[0]}; a folder of its own would do')
        for name in (METRICS, NOTE):  # it would go on from another config's steps
            if (folder / name).exists():
                raise ConfigError(
                    f'--workdir={folder} holds {name} and no {CONFIG}, so that nobody can tell of which config it is; '
                    'another folder would do'
                )
        return
    there = _read_whole(folder / CONFIG)
    if there is None:
        raise ConfigError(f'--workdir={folder}: its {CONFIG} is damaged; remove the folder or choose another')
    differing = differences(there, config, absent='None')  # from before a field was there: goes on where it is None
    if differing:
        told = ', '.join(differing[:SHOWN]) + (f' and {len(differing) - SHOWN} more' if len(differing) > SHOWN else '')
        raise ConfigError(f"--workdir={folder} holds another config's run: {told}; another folder would do")


def _runs_in(folder: Path) -> list[Path]:
    """Folders in `folder` that hold a run."""
    try:
        return sorted(path.parent for path in folder.glob(f'*/{CONFIG}'))
    except OSError:
        return []


def _check_path(folder: Path) -> None:
    """Refuses what Orbax and tensorboardX take for a pattern, for a place in a cloud, or for another folder."""
    if {'[', '\\'} & set(str(folder.absolute())) or re.match(r'\w+:/', str(folder)):
        raise ConfigError(
            f'--workdir={folder}: checkpoints need a local folder without [ or \\ in its path; another would do'
        )


def _check_writable(folder: Path) -> None:
    """Says early what `make_folder` would find out after the data was read."""
    _check_path(folder)
    try:
        _refuse_dangling(folder, f'--workdir={folder}')
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise ConfigError(f'--workdir={folder}: {error.strerror.lower()}; another folder would do') from error
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f'--workdir={folder}: {nearest} is no folder that can be written; another would do')


def _refuse_dangling(folder: Path, called: str) -> None:
    """Refuses a link to nothing, or to itself, on the way to `folder`. Raises OSError where none can be looked up."""
    for path in (folder, *folder.absolute().parents):
        if path.is_symlink() and not path.exists():
            raise ConfigError(
                f'{called}: {path} is a link to nothing, or to itself; one to a folder would do, or another folder'
            )


def read_config(folder: Path) -> ConfigDict:
    """The config of the run in `folder`.

    Raises:
      ConfigError: there is no run.
      StorageError: its config could not be read just now.
    """
    tree = _read_whole(folder / CONFIG)
    if tree is None:
        runs = _runs_in(folder)
        if runs:
            raise ConfigError(f'--workdir={folder} holds runs, and is none; one of them would do, such as {runs[0]}')
        raise ConfigError(f'--workdir={folder} holds no run: its {CONFIG} is missing or damaged')
    strange = flatten(tree).keys() ^ defaults().keys()
    if strange:
        raise ConfigError(
            f'--workdir={folder} was made by another version of patchwise: its {CONFIG} differs in '
            f'{clean(", ".join(sorted(strange)))}'
        )
    if not _same_groups(tree, base.get_config().to_dict()):
        raise ConfigError(f'--workdir={folder}: its {CONFIG} is damaged; its fields are not in their groups')
    return ConfigDict(tree).lock()


def _same_groups(tree: dict, known: dict) -> bool:
    """Whether names lead to groups and to values alike: a name with dots in it would pass for a group."""
    return tree.keys() == known.keys() and all(
        isinstance(tree[name], dict) and _same_groups(tree[name], group)
        for name, group in known.items()
        if isinstance(group, dict)
    )
