"""A sweep: a config file's `sweep()`, one run after the other, each in a folder named by its config."""

import hashlib
import importlib.util
import json
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs.errors import ConfigError
from experiment import folder
from experiment.command import describe
from experiment.display import Display
from experiment.run import execute, load_data
from experiment.validate import validate


class Planned(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder: a hash of the resolved config
    arm: str  # the row of the table that it counts in
    overrides: dict[str, Any]
    config: ConfigDict


def load_overrides(path: str) -> list[Any]:
    """What the function `sweep` of a config file returns.

    Raises:
      ConfigError: the file has none, or it raises; a config file is its author's to mend.
    """
    spec = importlib.util.spec_from_file_location('swept_config', path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, 'sweep'):
            raise ConfigError(f'--config={path} has no sweep(); train.py runs it as a single experiment')
        return list(module.sweep())  # plan() checks what it holds
    except Exception as error:
        raise ConfigError(describe(error)) from error


def run_name(config: ConfigDict) -> str:
    """Twelve hexadecimal digits that stand for the resolved config."""
    tree = json.loads(config.to_json())
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def plan(config: ConfigDict, overrides: Iterable[Any]) -> list[Planned]:
    """Every run of the sweep, validated.

    Args:
      overrides: one dict a run, from dotted field names to values; the key 'arm' names its row in the table, and
        may be left out where the fields say enough.
    Raises:
      ConfigError: an override names no field or has the wrong type, a config cannot run, or two are the same.
    """
    planned: dict[str, Planned] = {}
    for number, fields in enumerate(overrides):
        where = f'sweep()[{number}]'
        if not isinstance(fields, dict):
            raise ConfigError(f'{where} is {fields!r}; a dict from field names to values would do')
        # Seeds from numpy are numbers too, but not to a ConfigDict.
        fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in fields.items()}
        arm = fields.pop('arm', None) or _name_by(fields)
        where = f'{where} ({arm})'
        resolved = config.copy_and_resolve_references().lock()
        try:
            resolved.update_from_flattened_dict(fields)
            validate(resolved)
            load_data(resolved.data)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f'{where}: {error.args[0] if error.args else error}') from error
        run = Planned(run_name(resolved), arm, fields, resolved)
        if run.name in planned:
            raise ConfigError(f'{where} is the same run as {planned[run.name].arm}, {planned[run.name].overrides}')
        planned[run.name] = run
    if not planned:
        raise ConfigError('sweep() names no run')
    return list(planned.values())


def _name_by(fields: dict[str, Any]) -> str:
    return ', '.join(f'{name}={value}' for name, value in fields.items() if name != 'seed') or 'default'


def open_sweep(workdir: Path, config_file: str, runs: list[Planned]) -> None:
    """Makes `workdir` the folder of this sweep, or finds that it is already; arms may have been added since.

    Raises:
      ConfigError: it holds a single run, or another file's sweep, or cannot be written.
    """
    there = folder.read_json(workdir / folder.MANIFEST)
    if (workdir / folder.CONFIG).exists():
        raise ConfigError(f'--workdir={workdir} holds a single run; another folder would do')
    if isinstance(there, dict):
        if Path(there.get('config', '')).resolve() != Path(config_file).resolve():
            raise ConfigError(f'--workdir={workdir} holds the sweep of {there.get("config")}; another folder would do')
        lost = {run['run'] for run in there.get('runs', [])} - {run.name for run in runs}
        if lost:
            raise ConfigError(
                f'--workdir={workdir} holds {len(lost)} runs that this sweep has not, {min(lost)} among them; '
                'another folder would do, or the sweep as it was, with arms added'
            )
    folder.make_folder(workdir)
    listed = [{'run': run.name, 'arm': run.arm, 'overrides': run.overrides} for run in runs]
    folder.write_json(workdir / folder.MANIFEST, {'config': config_file, 'runs': listed})


def run_all(runs: list[Planned], workdir: Path) -> dict[str, str]:
    """Trains what is not finished; a run that fails does not stop the others.

    Returns:
      By run name, one line on each run that failed or diverged.
    """
    waiting = {run.name for run in runs if folder.read_result(workdir / run.name) is None}
    troubles = {}
    with Display(len(waiting)) as display:
        if len(waiting) < len(runs):
            display.note(f'{len(runs) - len(waiting)} of {len(runs)} runs were finished before')
        for run in runs:
            if run.name in waiting:
                display.begin(f'{run.arm}, seed {run.config.seed}')
            trouble = _run_one(run, workdir / run.name, display)
            if trouble:
                troubles[run.name] = trouble
                display.note(f'{run.arm}, seed {run.config.seed}: {trouble}')
            if run.name in waiting:
                display.end()
    return troubles


def _run_one(run: Planned, workdir: Path, display: Display) -> str | None:
    """Trains one run, or reads its result; what went wrong, or None."""
    (workdir / folder.FAILED).unlink(missing_ok=True)
    try:
        result = execute(run.config, workdir, display.row)
    except Exception as error:  # whatever it is, the other runs should go on; it is kept whole in the run's folder
        line = f'{type(error).__name__}: {" ".join(str(error).split())}'
        folder.make_folder(workdir)
        folder.write_json(workdir / folder.FAILED, {'error': line, 'traceback': traceback.format_exc()})
        return f'failed: {line}'
    if result['status'] == 'diverged':
        return f'diverged by step {result["diverged_step"]:,}'
    return None
