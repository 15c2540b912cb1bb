"""What `analysis.heads.measure` found, as tables, notes and a figure."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import output
from analysis.drawing.lines import Curve, Panel, Point, line_figure
from analysis.drawing.style import write_figure
from analysis.heads.measure import TABLES, Measured, measure
from analysis.terminal import Terminal
from analysis.wording import number

HEADINGS = {  # of columns that are numbers: heading, format, and what one unit is multiplied by
    'distance_patches': ('Distance,\npatches', '.2f', 1),
    'distance_pixels': ('Distance,\npixels', '.1f', 1),
    'entropy': ('Entropy,\nnats', '.2f', 1),
    'entropy_ratio': ('of the\nlargest, %', '.1f', 100),
    'fixed_pattern_share': ('Fixed\npattern, %', '.1f', 100),
    'uniform_share': ('Uniform\npattern, %', '.1f', 100),
    'offset_weight': ('there,\n%', '.1f', 100),
    'likeness': ('Likeness,\n%', '.1f', 100),
    'accuracy_lost': ('Lost with-\nout it, %', '.2f', 100),
}
LEGEND = (
    'Fixed pattern: the share of the attention that is explained by one pattern of offsets, the same for every query '
    'and image. Uniform pattern: the share that is explained by looking everywhere equally. Strongest offset: the '
    'offset that gets the most attention (rows, columns), and the weight that it gets from the queries with a token '
    'there. Likeness: how alike the head and the other heads of its layer look, 100% if they always look alike. Lost '
    'without it: the accuracy lost when the head is removed, in points.'
)


def report(workdir: Path, split: str = 'test', images: int = 256) -> None:
    """Prints the tables of a run or a sweep and writes them there. Raises ConfigError and StorageError."""
    measured = measure(workdir, split, images)
    print_heads(measured)
    for name in TABLES:
        print(output.write(workdir / f'{name}.csv', output.to_csv(getattr(measured, name))))
    for path in write_figure(pruning_figure(measured), workdir / 'pruning'):
        print(path)


def pruning_figure(measured: Measured) -> Figure:
    """Accuracy against the heads left: a line per arm, or the one of a run."""
    pruning = measured.pruning
    arms = pruning.groupby('arm', sort=False) if 'arm' in pruning else [('the run', pruning)]
    curves = [
        Curve(
            label,
            tuple(
                Point(int(left), tuple(100 * of_left['accuracy']), label not in measured.incomplete)
                for left, of_left in rows.groupby('heads_left')
            ),
        )
        for label, rows in arms
    ]
    caption = (
        'Heads are removed from the least to the most important, as measured on the validation images. Points are '
        'means over seeds; bands are their 95% confidence intervals (Student t).'
    )
    panel = Panel('accuracy, %', tuple(curves), bounds=(0.0, 100.0))
    return line_figure([panel], x_label='attention heads left, of all layers', caption=caption)


def distance_figure(measured: Measured) -> Figure:
    """How far and how widely heads look, by layer: a line per arm, means over its heads with an interval over seeds."""
    panels = []
    for name, y_label, unit, bounds in (
        ('distance_pixels', 'mean attention distance, pixels', 1, (0.0, float('inf'))),
        ('entropy_ratio', 'entropy, % of the largest', 100, (0.0, 100.0)),
    ):
        curves = []
        for label, rows in measured.heads.groupby('arm', sort=False):
            layers = rows.groupby(['layer', 'run'])[name].mean().dropna().groupby('layer')
            whole = label not in measured.incomplete
            points = tuple(Point(int(layer), tuple(unit * of_layer), whole) for layer, of_layer in layers)
            curves.append(Curve(label, points))
        panels.append(Panel(y_label, tuple(curves), bounds=bounds))
    ticks = {int(layer): str(layer) for layer in sorted(measured.heads['layer'].unique())}
    caption = 'Means over the heads of a layer; bands are 95% confidence intervals over seeds.'
    return line_figure(panels, x_label='layer', caption=caption, ticks=ticks)


def print_heads(measured: Measured) -> None:
    """The table and its notes: of a run by layer and head, of a sweep the means by arm and layer."""
    cells = _sweep_cells(measured.heads) if 'arm' in measured.heads else _run_cells(measured.heads)
    terminal = Terminal()
    terminal.grid(cells)
    for line in (_pruning_line(measured.pruning), *measured.notes, LEGEND):
        terminal.line(line)


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
        heading: [number(value, form, unit) for value in heads[name]]
        for name, (heading, form, unit) in HEADINGS.items()
    }


def _pruning_line(pruning: pd.DataFrame) -> str:
    """Accuracy by heads left, of a run; of a sweep, where its curves are."""
    if 'arm' in pruning:
        return 'Accuracy as heads are removed is in pruning.csv, and drawn in pruning.svg.'
    steps = ', '.join(f'{row.heads_left}: {row.accuracy:.1%}' for row in pruning.itertuples())
    return f'Accuracy by the number of heads left, the least important removed first: {steps}.'
