"""What each attention head does: how far it looks, how widely, and how much of it is one fixed pattern of offsets.

  python -m analysis.heads --workdir=runs/x --images=256 --split=test

prints a table by layer and head and writes heads.csv in the run's folder. Of a sweep's folder it prints the means of
each arm by layer, over seeds and heads; heads.csv there has every head of every run.

A head that looks at the same offset from every query, whatever is there, does what one weight of a convolution does
(analysis.convolution): its fixed-pattern share is 1 and its entropy 0. Uniform attention is a fixed pattern too, with
share 1 and the largest entropy; so read the share beside the entropy, and beside what the uniform pattern explains of
the same head, which stands in the next column.
"""

import functools
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import models
from analysis import output, records, runs
from analysis.patterns import PerHead, Weights, as_weights, fixed_pattern, normalised, overlap, strongest_offset
from configs.errors import ConfigError
from data.spec import Spec, Split
from experiment import command, folder
from experiment.run import load_data
from experiment.validate import validate
from models import windows
from models.patches import Grid, grid_coordinates, patch_grid
from training.batches import padded_batches
from training.restore import restore_selected

FILE = 'heads.csv'
CAPTURED_BYTES = 64 << 20  # attention weights of a batch, all layers together


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


def largest_entropy(grid: Grid, window: int | None = None) -> float:
    """The entropy of looking at all visible tokens alike, in nats: the mean of log(tokens visible) over queries."""
    return float(np.mean(np.log(np.sum(_visible(grid, window), axis=-1))))


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
    visible = _visible(grid, window)
    uniform = visible / np.sum(visible, axis=-1, keepdims=True)
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


def _visible(grid: Grid, window: int | None) -> Bool[np.ndarray, 'tokens tokens']:
    tokens = grid[0] * grid[1]
    return np.ones((tokens, tokens), bool) if window is None else np.asarray(windows.neighbours(grid, window))


class Measured(NamedTuple):
    """The heads of a run, or of all runs of a sweep, a row each; and what to say under the table, a line each."""

    heads: pd.DataFrame
    notes: tuple[str, ...]


def measure_run(workdir: Path, split: str = 'test', images: int = 256) -> Measured:
    """`head_statistics` of the run in `workdir`, on `images` of a split, evenly spread over it, or all it has.

    Raises:
      ConfigError: it has no attention, no checkpoint, or weights that are no numbers.
    """
    config = folder.read_config(workdir)
    lack = _no_attention(config)
    if lack:
        raise ConfigError(f'--workdir={workdir}: {lack}; a run with model.mixer=attention would do')
    spec = validate(config)
    _, params, step = restore_selected(config, spec, workdir)
    chosen = _spread(getattr(load_data(config.data), split), images)
    grid = patch_grid(spec.image_shape, config.model.patch_size)
    fields = json.dumps({'model': config.model.to_dict(), 'dtype': config.train.compute_dtype}, sort_keys=True)
    capture = _compile_capture(fields, spec)
    image_bytes = 4 * config.model.depth * config.model.num_heads * (grid[0] * grid[1]) ** 2
    batch_size = min(len(chosen.labels), max(1, CAPTURED_BYTES // image_bytes))

    def batches() -> Iterator[Array]:
        for batch, _, mask in padded_batches(chosen, batch_size):
            yield capture(params, batch)[:, :, : np.count_nonzero(mask)]

    heads = head_statistics(batches, grid, config.model.patch_size, config.model.window)
    if not np.isfinite(heads['distance_patches']).all():
        raise ConfigError(
            f'--workdir={workdir}: its attention weights are no numbers; a run that did not diverge would do'
        )
    return Measured(heads, (f'{len(chosen.labels):,} {split} images of {spec.name}, params of step {step:,}.',))


def measure_sweep(workdir: Path, split: str = 'test', images: int = 256) -> Measured:
    """`measure_run` of every finished run of a sweep, behind columns arm, seed and run; what cannot be is noted.

    Raises:
      ConfigError: there is no sweep, or none of its runs can be measured.
    """
    sweep = runs.read(workdir)
    measured, notes = [], list(sweep.warnings)
    for arm in sweep.arms:
        lacks = [_no_attention(ConfigDict(run.config)) for run in arm.finished]
        if any(lacks):
            notes.append(f'{arm.label}: {lacks[0]}')
            continue
        if not arm.complete:
            notes.append(f'{arm.label}: {len(arm.finished)} of {len(arm.runs)} runs finished')
        for run in arm.finished:
            try:
                heads = measure_run(workdir / run.name, split, images).heads
            except ConfigError as error:
                notes.append(f'{arm.label}: {error}')
                continue
            heads.insert(0, 'arm', arm.label)
            heads.insert(1, 'seed', run.seed)
            heads.insert(2, 'run', run.name)
            measured.append(heads)
    if not measured:
        raise ConfigError(f'--workdir={workdir}: no run with attention weights in it ({"; ".join(notes)})')
    notes.insert(0, f'Means over seeds and heads, on up to {images:,} {split} images of each run.')
    return Measured(pd.concat(measured, ignore_index=True), tuple(notes))


def _no_attention(config: ConfigDict) -> str:
    """Why a model has no attention weights; '' where it has."""
    if config.model.name != 'backbone':
        return f'model.name={config.model.name} has no attention weights'
    return '' if config.model.mixer == 'attention' else f'model.mixer={config.model.mixer} has no attention weights'


def _spread(split: Split, images: int) -> Split:
    # A dataset may come sorted by class, so the first ones are no sample of it.
    total = len(split.labels)
    rows = np.arange(min(images, total)) * total // min(images, total)
    return Split(split.images[rows], split.labels[rows])


@functools.lru_cache(maxsize=1)
def _compile_capture(fields: str, spec: Spec) -> Callable[..., Array]:
    """capture(params, images) -> [layers, heads, batch, tokens, tokens]; one program for all seeds of an arm."""
    config = ConfigDict(json.loads(fields))
    model = models.build(config.model, spec, np.dtype(config.dtype))
    return jax.jit(
        lambda params, images: jnp.stack(model.apply(params, images, capture=('attention',)).captured['attention'])
    )


HEADINGS = {  # of columns that are numbers: heading, format, and what one unit is multiplied by
    'distance_patches': ('Distance,\npatches', '.2f', 1),
    'distance_pixels': ('Distance,\npixels', '.1f', 1),
    'entropy': ('Entropy,\nnats', '.2f', 1),
    'entropy_ratio': ('of the\nlargest, %', '.1f', 100),
    'fixed_pattern_share': ('Fixed\npattern, %', '.1f', 100),
    'uniform_share': ('Uniform\npattern, %', '.1f', 100),
    'offset_weight': ('there,\n%', '.1f', 100),
}
LEGEND = (
    'Fixed pattern: the share of the attention that one pattern of offsets explains, the same for every query and '
    'image; uniform pattern: what looking everywhere alike explains. Strongest offset: the one that gets most '
    'attention (rows, columns), and the weight that it gets from the queries with a token there.'
)


def report(workdir: Path, split: str = 'test', images: int = 256) -> None:
    """Prints the table of a run or a sweep and writes heads.csv there. Raises ConfigError as the measurements do."""
    is_sweep = workdir.is_dir() and not records.is_run(workdir)
    measured = (measure_sweep if is_sweep else measure_run)(workdir, split, images)
    print_heads(measured)
    print(output.write(workdir / FILE, output.to_csv(measured.heads)))


def print_heads(measured: Measured, stream: io.TextIOBase | None = None) -> None:
    """The table and its notes: of a run by layer and head, of a sweep the means by arm and layer."""
    cells = _sweep_cells(measured.heads) if 'arm' in measured.heads else _run_cells(measured.heads)
    console = Console(file=stream or sys.stdout, highlight=False)

    def as_text(text: str) -> Text:
        # As Text, a label is never read as rich's markup.
        return Text(output.printable(text, console.encoding))

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in cells:
        table.add_column(name, justify='left' if name == 'Arm' else 'right', no_wrap=name != 'Arm', vertical='bottom')
    for row in cells.itertuples(index=False):
        table.add_row(*map(as_text, row))
    if not console.is_terminal:
        console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(table)
    for note in (*measured.notes, LEGEND):
        console.print(as_text(note), soft_wrap=not console.is_terminal)


def _run_cells(heads: pd.DataFrame) -> pd.DataFrame:
    cells = {'Layer': heads['layer'].astype(str), 'Head': heads['head'].astype(str)} | _numbers(heads)
    weight = cells.pop(HEADINGS['offset_weight'][0])
    offsets = zip(heads['offset_row'], heads['offset_column'], strict=True)
    cells['Strongest\noffset'] = [f'{_signed(row)}, {_signed(column)}' for row, column in offsets]
    return pd.DataFrame(cells | {HEADINGS['offset_weight'][0]: weight})


def _signed(number: int) -> str:
    return f'{number:+d}' if number else '0'


def _sweep_cells(heads: pd.DataFrame) -> pd.DataFrame:
    groups = heads.groupby(['arm', 'layer'], sort=False)
    means = groups[list(HEADINGS)].mean()
    cells = {
        'Arm': means.index.get_level_values('arm'),
        'Layer': means.index.get_level_values('layer').astype(str),
        'Seeds': groups['seed'].nunique().astype(str).to_numpy(),
        'Heads': groups['head'].nunique().astype(str).to_numpy(),
    }
    numbers = _numbers(means.reset_index())
    numbers['Weight at strongest\noffset, %'] = numbers.pop(HEADINGS['offset_weight'][0])
    return pd.DataFrame(cells | numbers)


def _numbers(heads: pd.DataFrame) -> dict[str, list[str]]:
    return {
        heading: ['-' if pd.isna(value) else format(value * unit, form) for value in heads[name]]
        for name, (heading, form, unit) in HEADINGS.items()
    }


def main() -> None:
    report(Path(flags.FLAGS.workdir), flags.FLAGS.split, flags.FLAGS.images)


if __name__ == '__main__':
    # Here, since the flags of a module that is only imported would stand in the way of other commands'.
    flags.DEFINE_string('workdir', None, 'Folder of a run or of a sweep.', required=True)
    flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to look at.')
    flags.DEFINE_integer('images', 256, 'How many of them, evenly spread.', lower_bound=1)
    command.run(main)
