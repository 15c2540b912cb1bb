"""Accuracy by positions and heads, as a heat map: each cell is an arm, and leads to its row."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import statistics
from analysis.captions import seeds_caption
from analysis.drawing.maps import MAP_STYLE, TOP, colour_bar, without_frame
from analysis.drawing.style import DPI, SMALL, TEXT, text_width
from analysis.heads.trained import lacks_attention
from analysis.page.arms import Row, told_apart
from analysis.page.pictures import ON_DARK, ON_LIGHT, Picture
from analysis.wording import percent, shortened
from configs.fields import flatten

MOST_MAPS = 4
FIELDS = ('model.positions.name', 'model.num_heads')
NOT_ALIKE = ('seed', 'model.positions.content', *FIELDS)  # in which cells of one map may differ
CELL_WIDTH, CELL_HEIGHT = 1.3, 0.46  # inches
BELOW, BAR = 0.65, 1.0  # inches below each map, and for the colours
COLOURS = 'cividis'


class HeatMap(NamedTuple):
    """Arms that differ in positions and heads alone."""

    rows: dict[tuple[str, int], Row]  # by position, "alone" where there is no content, and heads
    rest: dict  # the fields that they share

    @property
    def positions(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.rows))

    @property
    def heads(self) -> list[int]:
        return sorted({heads for _, heads in self.rows})


def alike(rows: Sequence[Row]) -> list[HeatMap]:
    """The arms with attention, in groups that differ in positions and heads alone; groups of one are left out."""
    groups: dict[str, HeatMap] = {}
    for row in rows:
        config = next((run.config for run in row.arm.finished if run.config), None)
        fields = flatten(config or {})
        place = tuple(fields.get(name) for name in FIELDS)
        if not lacks_attention(config) and None not in place:
            rest = {name: value for name, value in fields.items() if name not in (*NOT_ALIKE, *row.arm.tuned)}
            if fields.get('model.positions.content') is False:
                place = f'{place[0]} alone', place[1]
            group = groups.setdefault(json.dumps(rest, sort_keys=True), HeatMap({}, rest))
            group.rows.setdefault(place, row)
    found = [group for group in groups.values() if len(group.rows) > 1]
    return sorted(found, key=lambda group: -len(group.rows))[:MOST_MAPS]


def heat_map(rows: Sequence[Row]) -> Picture | None:
    """Mean test accuracy by positions (down) and heads (across); None where the sweep has no two such arms."""
    found = alike(rows)
    if not found:
        return None
    means = {row.number: float(np.mean(row.arm.accuracies)) for row in rows if row.arm.finished}
    shown = [100 * means[row.number] for group in found for row in group.rows.values()]
    with matplotlib.rc_context(MAP_STYLE):
        sizes = [(CELL_WIDTH * len(group.heads), CELL_HEIGHT * len(group.positions)) for group in found]
        left = 0.2 + max(text_width(name, TEXT) for group in found for name in group.positions)
        width = left + max(across for across, _ in sizes) + BAR
        height = TOP + sum(down + BELOW for _, down in sizes)
        figure = Figure(figsize=(width, height), dpi=DPI)
        top = height - TOP
        titles = told_apart([group.rest for group in found])
        for group, (across, down), title in zip(found, sizes, titles, strict=True):
            axes = figure.add_axes((left / width, (top - down) / height, across / width, down / height))
            mesh = _draw(axes, group, means, (min(shown), max(shown)))
            if len(found) > 1:
                axes.set_title(shortened(title), loc='left', fontsize=SMALL)
            top -= down + BELOW
        colour_bar(figure, mesh, 'test accuracy, %', tall=sizes[0][1], wide=0.14, from_right=BAR - 0.2)
    about = '; '.join(
        f'{name} with {heads} head{"s" * (heads != 1)} {100 * means[row.number]:.2f}%'
        + ('' if row.arm.complete else f' ({len(row.arm.finished)} of {len(row.arm.runs)} runs)')
        for group in found
        for (name, heads), row in group.rows.items()
    )
    note = seeds_caption([row.arm for group in found for row in group.rows.values()])
    return Picture('heat_map', 'Positions and heads', f'Mean test accuracy. {about}. {note}', figure)


def _draw(axes: Axes, group: HeatMap, means: dict[int, float], limits: tuple[float, float]):
    values = np.full((len(group.positions), len(group.heads)), np.nan)
    for (name, heads), row in group.rows.items():
        values[group.positions.index(name), group.heads.index(heads)] = 100 * means[row.number]
    low, high = limits
    mesh = axes.pcolormesh(values, cmap=COLOURS, vmin=low, vmax=high if high > low else low + 1, edgecolor='#ffffff')
    for (name, heads), row in group.rows.items():
        interval = statistics.mean_and_interval(row.arm.accuracies, row.arm.complete)
        light = (100 * interval.mean - low) / ((high - low) or 1) > 0.5
        survivors = '' if row.arm.complete else f'\n{len(row.arm.finished)} of {len(row.arm.runs)} runs'
        column, line = group.heads.index(heads), group.positions.index(name)
        axes.text(
            column + 0.5, line + 0.5, percent(*interval[:3], '.1f') + survivors,
            ha='center', va='center_baseline', fontsize=SMALL,
            color=ON_LIGHT if light else ON_DARK, url=f'#arm-{row.number}',
        )  # fmt: skip
    axes.set_xticks(np.arange(len(group.heads)) + 0.5, [f'{count}' for count in group.heads])
    axes.set_yticks(np.arange(len(group.positions)) + 0.5, group.positions)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel('attention heads')
    without_frame(axes)
    for row, column in np.argwhere(np.isnan(values)):
        axes.text(column + 0.5, row + 0.5, 'not run', ha='center', va='center', fontsize=SMALL, color='#444444')
    return mesh
