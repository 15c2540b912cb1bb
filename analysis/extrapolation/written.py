"""What eval.py --resolutions leaves of runs in a sweep's folder, written and read again. The file may be hostile."""

import dataclasses
import logging
from collections import Counter
from pathlib import Path

import pandas as pd

from analysis.extrapolation.options import POLICIES
from analysis.extrapolation.scores import Extrapolation
from analysis.reading import records, runs
from data.spec import Dataset

logger = logging.getLogger(__name__)

RUNS = 'extrapolation_runs.csv'
LARGEST_FILE = 16 << 20  # bytes that are read
SPLITS = Dataset._fields[1:]
COUNTS = ('resolution', 'tokens', 'patches', 'trained_patches')
TEXTS = ('run', 'result', 'status', 'policy', 'split')


def rows(found: Extrapolation) -> pd.DataFrame:
    """The scores, and a row for each run that has none, with its status."""
    scores = found.scores.assign(status=records.FINISHED)
    left_out = [
        {'arm': arm.label, 'run': run.name, 'seed': run.seed, 'status': run.status}
        for arm in found.arms
        for run in arm.runs
        if run.status != records.FINISHED
    ]
    return pd.DataFrame([*scores.to_dict('records'), *left_out], columns=scores.columns).astype(
        dict.fromkeys((*COUNTS, 'seed', 'step', 'examples'), 'Int64')
    )


def read(workdir: Path, sweep: runs.Sweep) -> tuple[tuple[runs.Arm, ...], pd.DataFrame] | None:
    """The arms of the sweep in `workdir`, and the scores of their runs, as `extrapolation_figure` takes them.

    A run counts where it is finished and was evaluated whole, as it is now; others are not finished here. None where
    eval.py left nothing of the sweep, or what cannot be read.
    """
    path = workdir / RUNS
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return None
        if 'result' not in pd.read_csv(path, nrows=0).columns:
            logger.warning('%s does not say of which results it is, and is left out; eval.py writes it anew', path)
            return None
        table = _read(path)
    except (OSError, ValueError, TypeError, OverflowError):  # what pandas raises of a file that is no such table
        return None
    of_run = dict(iter(table.groupby('run')))
    places = Counter(_places(table[table['policy'].isin(POLICIES) & (table['resolution'].fillna(0) > 0)]).keys())
    arms = tuple(
        dataclasses.replace(arm, runs=tuple(_as_evaluated(run, of_run.get(run.name), places) for run in arm.runs))
        for arm in sweep.arms
    )
    scores = table[table['run'].isin([run.name for arm in arms for run in arm.finished])]
    if scores.empty or scores['split'].nunique() != 1 or not scores['split'].isin(SPLITS).all():
        return None
    return arms, scores


def _read(path: Path) -> pd.DataFrame:
    """The columns that matter; texts are as they were before `analysis.output.to_csv` wrote them."""
    types = dict.fromkeys(TEXTS, str) | dict.fromkeys(COUNTS, 'Int64') | {'accuracy': float}
    empty = {name: [''] for name in types if name not in TEXTS}  # a run may be called NA
    table = pd.read_csv(path, usecols=[*types], dtype=types, na_values=empty, keep_default_na=False)
    names = table['run'].str.replace(r"^'(?=[=+\-@])", '', regex=True)
    return table.assign(run=names)


def _places(rows: pd.DataFrame) -> Counter:
    """How often rows are of each policy and resolution."""
    return Counter(zip(rows['policy'], rows['resolution'], strict=True))


def _as_evaluated(run: records.Run, rows: pd.DataFrame | None, places: Counter) -> records.Run:
    """The run, or one that is not finished where it has not just one score for each of `places`."""
    if run.status != records.FINISHED:
        return run
    # Without a row, it came to the sweep later; with those of another result, it was trained again.
    known = rows is not None and rows['result'].isin(['', run.result.sha256]).all()
    if known and (rows['result'] != '').all() and _is_whole(rows, places):
        return run
    # With one that has no score, eval.py says what it was then.
    then = rows['status'].iloc[0] if known else 'unfinished'
    return dataclasses.replace(run, status=then if then in records.UNFINISHED else 'damaged', result=None)


def _is_whole(rows: pd.DataFrame, places: Counter) -> bool:
    counts = rows[['resolution', 'patches', 'trained_patches']].fillna(0)
    return bool(
        (rows['status'] == records.FINISHED).all()
        and _places(rows) == places
        and (counts > 0).all(axis=None)
        and counts['trained_patches'].nunique() == 1
        and rows['accuracy'].between(0, 1).all()
    )
