"""The arms of a sweep as the page shows them: a row of the table each, its runs, its config and its command."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from analysis import tables
from analysis.formats import ACCURACY, AGAINST, BUDGET, COST, SPEED
from analysis.reading import records, runs
from analysis.wording import number, p_value, percent
from configs.fields import defaults, flatten
from experiment.checking.unread import unread
from files.text import clean


class Cell(NamedTuple):
    """What a cell of the table shows, and what it sorts by; None sorts last."""

    text: str
    value: float | str | None


class Row(NamedTuple):
    """An arm of the page."""

    number: int  # from 1; the arm's place on the page is #arm-<number>
    arm: runs.Arm
    mark: str  # 'best', 'indistinguishable' or ''
    cells: tuple[Cell, ...]  # in the order of `headings`
    command: str  # '' where no run of it left a config

    @property
    def label(self) -> str:
        return self.arm.label


def rows(sweep: runs.Sweep, table: tables.Table) -> tuple[list[str], list[Row]]:
    """The headings of the table and its rows, in the author's order."""
    arms = table.arms
    columns = {
        ACCURACY: [_accuracy(row) for row in arms.itertuples()],
        AGAINST: [_against_best(row) for row in arms.itertuples()],
        'Seeds': [_seeds(row) for row in arms.itertuples()],
    }
    for heading, (name, form, unit) in (COST | SPEED | BUDGET).items():
        columns[heading] = [Cell(number(value, form, unit), _sorted_by(value)) for value in arms[name]]
    found = [
        Row(number, arm, mark, cells, reproduce(arm, number))
        for number, (arm, mark, *cells) in enumerate(zip(sweep.arms, arms['mark'], *columns.values(), strict=True), 1)
        for cells in [tuple(cells)]
    ]
    return list(columns), found


def run_link(workdir: Path, run: records.Run) -> str:
    """From the page to a run's folder."""
    return './' if records.is_run(workdir) else f'{quote(run.name)}/'


def reproduce(arm: runs.Arm, number: int) -> str:
    """The shell command that trains every run of an arm anew, and prints their table.

    From configs/base.py and every field in which the arm differs from it: so it needs no config file that may have
    changed, or gone, since. `number` keeps its folder apart from other arms'.
    """
    if arm.config is None:
        return ''
    changed = ' '.join(f'--config.{name}={shlex.quote(_written(value))}' for name, value in changes(arm.config).items())
    seeds = ' '.join(str(run.seed) for run in arm.runs if run.seed is not None) or '0'
    workdir = f'runs/again-{number}'
    return (
        f'for seed in {seeds}; do\n'
        f'  python train.py --config=configs/base.py --workdir={workdir}/$seed --config.seed=$seed {changed}\n'
        'done\n'
        f'python report.py --workdir={workdir}'
    )


def changes(config: dict) -> dict[str, Any]:
    """The fields of a run's config, its seed apart, that are not as configs/base.py has them; dotted names.

    Those without effect are left out: train.py refuses what changes nothing.
    """
    usual, fields = defaults(), flatten(config)
    left_out = {'seed', *unread(fields)}
    return {
        name: value
        for name, value in fields.items()
        if name not in left_out and name in usual and _written(value) != _written(usual[name])
    }


def differences(arms: Sequence[runs.Arm]) -> dict[str, list[str | None]]:
    """Every field, the seed apart, that is not the same in all arms: its value in each, None where it is not known."""
    trees = [flatten(arm.config or {}) for arm in arms]
    names = dict.fromkeys(name for tree in trees for name in tree if name != 'seed')
    # As JSON, because 1, 1.0 and True are equal to Python.
    table = {name: [clean(json.dumps(tree[name])) if name in tree else None for tree in trees] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def told_apart(configs: Sequence[dict[str, Any]]) -> list[str]:
    """What each of some flattened configs has in the fields in which they differ: model.mixer=conv."""
    names = dict.fromkeys(name for config in configs for name in config)
    # As JSON, because 1, 1.0 and True are equal to Python.
    differing = [name for name in names if len({json.dumps(config.get(name)) for config in configs}) > 1]
    return [clean(', '.join(f'{name}={config[name]}' for name in differing if name in config)) for config in configs]


def _written(value: Any) -> str:
    """As a command line has it."""
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, int | float) else str(value)


def _accuracy(row: Any) -> Cell:
    return Cell(percent(row.test_accuracy, row.low, row.high), _sorted_by(row.test_accuracy))


def _against_best(row: Any) -> Cell:
    if row.mark == 'best':
        return Cell('best', 0.0)
    if pd.isna(row.p_value):
        return Cell('not tested', None)
    difference = percent(row.difference, row.difference_low, row.difference_high, '+.2f')
    said = f'{p_value(row.p_value, named=True)}{", †" if row.mark else ""}'
    return Cell(f'{difference} ({said})', float(row.difference))


def _seeds(row: Any) -> Cell:
    return Cell(runs.runs_counted(row.n, row.runs, row._asdict()), float(row.n))


def _sorted_by(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
