"""What each attention head does: how far and how widely it looks, how like the others, and what is lost without it.

  python -m analysis.heads --workdir=runs/x --images=256 --split=test

prints a table by layer and head and the accuracy as heads are removed, and writes heads.csv and pruning.csv in the
run's folder. Of a sweep's folder it prints the means of each arm by layer, over seeds and heads, and draws the pruning
curves; heads.csv there has every head of every run.

A head that looks at the same offset from every query, whatever is there, does what one weight of a convolution does
(analysis.convolution): its fixed-pattern share is 1 and its entropy 0. Uniform attention is a fixed pattern too, with
share 1 and the largest entropy; so read the share beside the entropy, and beside what the uniform pattern explains of
the same head, which stands in the next column.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from jax.scipy.special import entr
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from analysis import records, runs
from analysis.attention import Load, batches_of_weights, lacks_attention, load_trained, spread, visible
from analysis.patterns import PerHead, Weights, as_weights, fixed_pattern, normalised, overlap, strongest_offset
from analysis.removal import removal
from configs.errors import ConfigError
from experiment import command
from experiment.run import load_data
from files.text import clean
from models import windows
from models.patches import Grid, grid_coordinates

MOST_REMOVAL_IMAGES = 1000  # on which accuracy without heads is counted
TABLES = ('heads', 'pruning')  # of Measured


def attention_distance(weights: Weights, grid: Grid) -> PerHead:
    """How far away a head looks, in patches: the mean of |key - query| over its weights, then queries and images.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7; times the patch size it is in pixels, as there.
    """
    offsets = windows.offsets(grid_coordinates(grid))
    # A sum and no matrix product: those are less than float32 on some accelerators.
    away = jnp.sum(normalised(weights) * jnp.linalg.norm(offsets, axis=-1), axis=-1)
    return jnp.mean(away, axis=(-2, -1))


def attention_entropy(weights: Weights) -> PerHead:
    """How widely a head looks: the entropy of its weights in nats, the mean over queries and images.

    0 for one token, log(tokens) for all of them alike.
    """
    return jnp.mean(jnp.sum(entr(normalised(weights)), axis=-1), axis=(-2, -1))


def likeness(weights: Weights) -> Float[Array, '*layers heads heads']:
    """How alike the heads of a layer look, in [0, 1]: the mean over queries and images of sum_k min(w_a, w_b).

    One minus the total variation distance; 1 for heads that always look alike, 0 where none looks where another does.
    """
    weights = normalised(weights)
    rows = [
        jnp.mean(jnp.sum(jnp.minimum(weights, weights[..., head : head + 1, :, :, :]), axis=-1), axis=(-2, -1))
        for head in range(weights.shape[-4])
    ]
    return jnp.stack(rows, axis=-2)


def largest_entropy(grid: Grid, window: int | None = None) -> float:
    """The entropy of looking at all visible tokens alike, in nats: the mean of log(tokens visible) over queries."""
    return float(np.mean(np.log(np.sum(visible(grid, window), axis=-1))))


def head_statistics(
    batches: Callable[[], Iterable[Float[Array | np.ndarray, 'layers heads _ tokens tokens']]],
    grid: Grid,
    patch_size: int,
    window: int | None = None,
) -> pd.DataFrame:
    """What is here and in analysis.patterns, a row for each layer and head.

    Args:
      batches: gives all batches of weights, from the start at each call: first the patterns are found, then what
        they explain. However they are cut, sums come first and one division at the end.
      patch_size: pixels.
    Returns:
      Columns layer, head, distance_patches, distance_pixels, entropy (nats), entropy_ratio (to `largest_entropy`; NaN
      where that is 0), fixed_pattern_share, uniform_share (what uniform attention would explain), offset_row,
      offset_column (`strongest_offset`, patches) and offset_weight.
    """
    seen = visible(grid, window)
    uniform = seen / np.sum(seen, axis=-1, keepdims=True)
    mean, entropy, uniform_share = _mean_over_images(batches(), lambda batch: _first_pass(batch, uniform))
    mean = mean[..., None, :, :]
    pattern = as_weights(fixed_pattern(mean, grid), grid)
    (share,) = _mean_over_images(batches(), lambda batch: _second_pass(batch, pattern))
    distance = np.asarray(attention_distance(mean, grid), np.float64)
    offset, offset_weight = strongest_offset(mean, grid)
    largest = largest_entropy(grid, window)
    layer, head = np.indices(entropy.shape)
    columns = {
        'layer': layer,
        'head': head,
        'distance_patches': distance,
        'distance_pixels': distance * patch_size,
        'entropy': entropy,
        'entropy_ratio': entropy / largest if largest else np.full_like(entropy, np.nan),
        'fixed_pattern_share': share,
        'uniform_share': uniform_share,
        'offset_row': offset[..., 0],
        'offset_column': offset[..., 1],
        'offset_weight': offset_weight,
    }
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


@jax.jit
def _first_pass(batch: Array, uniform: Array) -> tuple[Array, ...]:
    return jnp.mean(normalised(batch), axis=-3), attention_entropy(batch), overlap(batch, uniform)


@jax.jit
def _second_pass(batch: Array, pattern: Array) -> tuple[Array, ...]:
    return (overlap(batch, pattern),)


def _mean_over_images(batches: Iterable, statistics: Callable[[Array], tuple[Array, ...]]) -> list[np.ndarray]:
    """The mean of each statistic, itself a mean over a batch's images, over all images; summed in float64."""
    sums, images = None, 0
    for batch in batches:
        weighted = [np.asarray(value, np.float64) * batch.shape[-3] for value in statistics(batch)]
        sums = weighted if sums is None else [total + value for total, value in zip(sums, weighted, strict=True)]
        images += batch.shape[-3]
    return [total / images for total in sums]


class Measured(NamedTuple):
    """The heads of a run, or of all runs of a sweep; in a sweep, tables begin with columns arm, seed and run."""

    heads: pd.DataFrame  # a row each: head_statistics, likeness (mean over the layer's others) and accuracy_lost
    pruning: pd.DataFrame  # a row for each number of heads left: heads_left, heads and accuracy
    likeness: dict[str, Float[np.ndarray, 'layers heads heads']]  # by run
    notes: tuple[str, ...]  # to say under the table, a line each


def measure_run(workdir: Path, split: str = 'test', images: int = 256, load: Load = load_trained) -> Measured:
    """The heads of the run in `workdir`, on `images` of a split, evenly spread over it, or all it has.

    What is lost without a head is counted on up to MOST_REMOVAL_IMAGES. `load` may remember what it loads.

    Raises:
      ConfigError: it has no attention, no checkpoint, or weights that are no numbers.
    """
    trained = load(workdir)
    dataset = load_data(trained.config.data)
    chosen, model = spread(getattr(dataset, split), images), trained.config.model
    heads = head_statistics(lambda: batches_of_weights(trained, chosen), trained.grid, model.patch_size, model.window)
    if not np.isfinite(heads['distance_patches']).all():
        raise ConfigError(
            f'--workdir={workdir}: its attention weights are no numbers; a run that did not diverge would do'
        )
    (alike,) = _mean_over_images(batches_of_weights(trained, chosen), lambda batch: (_likeness(batch),))
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
        f'Accuracy without heads: on {removed.examples:,} {split} images; the order of removal, from the least '
        'important, is that of the validation images.',
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
    measured: list[Measured] = []
    notes = list(sweep.warnings)
    for arm in sweep.arms:
        lacks = [_lack(run) for run in arm.finished]
        if any(lacks):
            notes.append(f'{arm.label}: {lacks[0]}')
            continue
        if not arm.complete:
            notes.append(f'{arm.label}: {len(arm.finished)} of {len(arm.runs)} runs finished')
        for run in arm.finished:
            try:
                found = measure_run(runs.folder_of(workdir, run), split, images, load)
            except Exception as error:  # whatever a damaged checkpoint raises, the other runs can be measured
                why = str(error) if isinstance(error, ConfigError) else f'{type(error).__name__}: {error}'
                notes.append(clean(f'{arm.label}: {why}'))
                continue
            for table in (found.heads, found.pruning):
                for place, (name, value) in enumerate({'arm': arm.label, 'seed': run.seed, 'run': run.name}.items()):
                    table.insert(place, name, value)
            measured.append(found)
    if not measured:
        raise ConfigError(f'--workdir={workdir}: no run with attention weights in it ({"; ".join(notes)})')
    notes.insert(0, f'Means over seeds and heads, on up to {images:,} {split} images of each run.')
    notes.insert(1, f'Accuracy without heads: on up to {MOST_REMOVAL_IMAGES:,} of them.')
    heads, pruning = (pd.concat([getattr(found, name) for found in measured], ignore_index=True) for name in TABLES)
    alike = {name: matrix for found in measured for name, matrix in found.likeness.items()}
    return Measured(heads, pruning, alike, tuple(notes))


def _lack(run: runs.Run) -> str:
    """`lacks_attention` of the run's config; '' for one that says nothing of it, which measuring will find."""
    try:
        return lacks_attention(ConfigDict(run.config))
    except Exception:  # a config may hold anything
        return ''


_likeness = jax.jit(likeness)


def measure(workdir: Path, split: str = 'test', images: int = 256) -> Measured:
    """`measure_run` of a run's folder, `measure_sweep` of a sweep's."""
    if workdir.is_dir() and not records.is_run(workdir):
        return measure_sweep(workdir, runs.read(workdir), split, images)
    return measure_run(workdir, split, images)


def main() -> None:
    from analysis import heads_report
    from training.program_cache import use_cache

    use_cache()
    heads_report.report(Path(flags.FLAGS.workdir), flags.FLAGS.split, flags.FLAGS.images)


if __name__ == '__main__':
    # Here, since the flags of a module that is only imported would stand in the way of other commands'.
    flags.DEFINE_string('workdir', None, 'Folder of a run or of a sweep.', required=True)
    flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to look at.')
    flags.DEFINE_integer('images', 256, 'How many of them, evenly spread.', lower_bound=1)
    command.run(main)
