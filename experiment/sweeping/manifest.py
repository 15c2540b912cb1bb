"""The folder of a sweep: sweep.json lists its runs, so that no arm leaves the table unseen."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.fields import differences
from experiment import folder
from experiment.sweeping.figure import check_figure
from experiment.sweeping.sweeps import Planned
from files.reading import Damaged, read_json_if_whole, read_own_json
from files.text import clean
from files.writing import write_json

logger = logging.getLogger(__name__)

NAME = re.compile('[0-9a-f]{12}')  # of a run: see `sweeps.run_name`


def open_sweep(workdir: Path, config_file: str, runs: Sequence[Planned], figure: Any = None) -> None:
    """Makes `workdir` the folder of this sweep, or finds that it is already; arms may have been added since.

    `runs` and `figure` are `plan`'s.

    Raises:
      ConfigError: it holds a single run, or a sweep with runs that this one has not, or cannot be written.
      StorageError: its list cannot be read just now.
    """
    if (workdir / folder.CONFIG).exists():
        raise ConfigError(f'--workdir={workdir} holds a single run; another folder would do')
    there, listed = _read(workdir / folder.MANIFEST)
    planned = {run.name for run in runs}
    lost = [name for name in listed if name not in planned]
    if lost:
        raise ConfigError(
            f'--workdir={workdir} holds the sweep of {there}, with {len(lost)} runs that this one has not: '
            f'{_lost(workdir, lost[0], listed[lost[0]], runs)}; another folder would do, or the sweep as it was, '
            'with arms added'
        )
    folder.make_folder(workdir)
    rows = [
        {
            'run': run.name,
            'arm': run.arm,
            **(run.place._asdict() if run.place else {}),
            **({'tuned': run.tuned} if run.tuned else {}),
            **({'against': run.against} if run.against else {}),
            'overrides': run.overrides,
        }
        for run in runs
    ]
    drawn = {} if figure is None else {'figure': check_figure(figure)._asdict()}
    write_json(workdir / folder.MANIFEST, {'config': config_file, **drawn, 'runs': rows})


def _lost(workdir: Path, name: str, arm: str, runs: Sequence[Planned]) -> str:
    """What tells the run `name`, of the sweep that is there, from the run of this one that is most like it."""
    there = read_json_if_whole(workdir / name / folder.CONFIG)
    fewest = min((differences(there, run.config) for run in runs), key=len) if there else []
    return clean(f'one of {arm!r} has {fewest[0]}') if fewest else f'one of {arm!r}'


def _read(path: Path) -> tuple[str | None, dict[str, str]]:
    """The config file of the sweep that is there, if any, and its runs: their names, and the arms of each.

    A damaged list is named in a warning, and written anew: a run's folder is named by its config, so nothing that was
    trained can pass for something else. Raises StorageError when it cannot be read just now.
    """
    try:
        manifest = read_own_json(path)
        if manifest is None:
            return None, {}
        config, rows = manifest.get('config'), manifest.get('runs')
        rows = rows if isinstance(rows, list) else [None]
        names = [row.get('run') if isinstance(row, dict) else None for row in rows]
        named = names and all(isinstance(name, str) and NAME.fullmatch(name) for name in names)
        if not (named and isinstance(config, str) and config.isprintable()):
            raise Damaged('is no list of runs')
        return config, {name: clean(str(row.get('arm'))) for name, row in zip(names, rows, strict=True)}
    except Damaged as error:
        logger.warning('%s %s; it is written anew', path, error)
        return None, {}
