"""Measures the heads of a run, or of every run of a sweep."""

import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

import data
from analysis.heads.attention import batches_of_weights
from analysis.heads.metrics import head_statistics, likeness, mean_over_images
from analysis.heads.removal import removal
from analysis.heads.trained import Load, lacks_attention, load_trained, sample
from analysis.reading import records, runs
from analysis.wording import why
from configs.errors import ConfigError
from files.text import clean

MOST_REMOVAL_IMAGES = 1000  # on which accuracy without heads is counted
TABLES = ('heads', 'pruning')  # of Measured


class Measured(NamedTuple):
    """The heads of a run, or of all runs of a sweep; in a sweep, tables begin with columns arm, seed and run."""

    heads: pd.DataFrame  # a row each: head_statistics, likeness (mean over the layer's others) and accuracy_lost
    pruning: pd.DataFrame  # a row for each number of heads left: heads_left, heads and accuracy
    likeness: dict[str, Float[np.ndarray, 'layers heads heads']]  # by run
    notes: tuple[str, ...]  # to say under the table, a line each
    incomplete: frozenset[str] = frozenset()  # arms of which a run is missing: their means are of the survivors


def measure_run(workdir: Path, split: str = 'test', images: int = 256, load: Load = load_trained) -> Measured:
    """The heads of the run in `workdir`, on `images` of a split, drawn from it, or all it has.

    What is lost without a head is counted on up to MOST_REMOVAL_IMAGES. `load` may remember what it loads.

    Raises:
      ConfigError: it has no attention, no checkpoint, or weights that are no numbers.
    """
    trained = load(workdir)
    dataset = data.load_once(trained.config.data)
    chosen, model = sample(getattr(dataset, split), images), trained.config.model
    heads = head_statistics(lambda: batches_of_weights(trained, chosen), trained.grid, model.patch_size, model.window)
    if not np.isfinite(heads['distance_patches']).all():
        raise ConfigError(
            f'--workdir={workdir}: its attention weights are no numbers; a run that did not diverge would do'
        )
    (alike,) = mean_over_images(batches_of_weights(trained, chosen), lambda batch: (_likeness(batch),))
    others = max(1, model.num_heads - 1)
    heads['likeness'] = (
        (alike.sum(-1) - 1) / others if model.num_heads > 1 else np.full(alike.shape[:2], np.nan)
    ).ravel()
    removed = removal(trained, dataset, split, MOST_REMOVAL_IMAGES)
    heads['accuracy_lost'] = removed.lost.ravel()
    total = len(removed.order)
    pruning = pd.DataFrame({'heads_left': total - np.arange(total + 1), 'heads': total, 'accuracy': removed.accuracy})
    notes = (
        f'{len(chosen.labels):,} {split} images of {trained.spec.name}, params of step {trained.step:,}.',
        _removal_note(f'{removed.examples:,} {split} images'),
        *([] if trained.finished else ['The run is not finished: its best params may be yet to come.']),
    )
    return Measured(heads, pruning, {workdir.name: alike}, notes)


def measure_sweep(
    workdir: Path, sweep: runs.Sweep, split: str = 'test', images: int = 256, load: Load = load_trained
) -> Measured:
    """`measure_run` of every finished run of the sweep in `workdir`, or of the one run; what cannot be is noted.

    Its tables begin with columns arm, seed and run.

    Raises:
      ConfigError: none of its runs can be measured.
    """
    measured: dict[str, Measured] = {}  # by run
    notes = list(sweep.warnings)
    for number, arm in enumerate(sweep.arms, start=1):
        lack = next(filter(None, (lacks_attention(run.config) for run in arm.finished)), '')
        if lack:
            notes.append(f'{arm.label}: {lack}')
            continue
        if not arm.complete:
            notes.append(f'{arm.label}: {len(arm.finished)} of {len(arm.runs)} runs finished')
        # Each run is evaluated three times for each of its heads, which takes minutes where images are large.
        told = f'heads, {number} of {len(sweep.arms)}: {arm.label}, runs to look at: {len(arm.finished)}'
        print(told, file=sys.stderr, flush=True)
        for run in arm.finished:
            try:
                found = measure_run(runs.folder_of(workdir, run), split, images, load)
            except Exception as error:  # whatever a damaged checkpoint raises, the other runs can be measured
                notes.append(clean(f'{arm.label}: {why(error)}'))
                continue
            for table in (found.heads, found.pruning):
                for place, (name, value) in enumerate({'arm': arm.label, 'seed': run.seed, 'run': run.name}.items()):
                    table.insert(place, name, value)
            measured[run.name] = found
    if not measured:
        raise ConfigError(f'--workdir={workdir}: no run with attention weights in it ({"; ".join(notes)})')
    notes.insert(0, f'Means over seeds and heads, on up to {images:,} {split} images of each run.')
    notes.insert(1, _removal_note(f'up to {MOST_REMOVAL_IMAGES:,} {split} images'))
    heads, pruning = (
        pd.concat([getattr(found, name) for found in measured.values()], ignore_index=True) for name in TABLES
    )
    alike = {name: matrix for name, found in measured.items() for matrix in found.likeness.values()}
    of_some = [arm for arm in sweep.arms if any(run.name in measured for run in arm.finished)]
    incomplete = frozenset(arm.label for arm in of_some if not all(run.name in measured for run in arm.runs))
    return Measured(heads, pruning, alike, tuple(notes), incomplete)


def _removal_note(images: str) -> str:
    return (
        f'Accuracy without heads: on {images}; the order of removal, from the least important, is that of the '
        'validation images.'
    )


_likeness = jax.jit(likeness)


def measure(workdir: Path, split: str = 'test', images: int = 256) -> Measured:
    """`measure_run` of a run's folder, `measure_sweep` of a sweep's."""
    if workdir.is_dir() and not records.is_run(workdir):
        return measure_sweep(workdir, runs.read(workdir), split, images)
    return measure_run(workdir, split, images)
