"""The figure of a sweep, where its config file's FIGURE asks for one: accuracy or speed over what the sweep varies."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis import output, statistics
from analysis.captions import budget_caption, missing_captions, seeds_caption
from analysis.drawing.lines import Curve, Panel, Point, line_figure
from analysis.drawing.style import write_figure
from analysis.reading import records, runs
from analysis.wording import listed_labels


class Quantity(NamedTuple):
    """What a panel shows of a run."""

    label: str  # with the unit
    bounds: tuple[float, float]  # in that unit
    unit: float  # by which the raw number is multiplied
    read: Callable[[records.Result], float | None]


QUANTITIES = {
    'test_accuracy': Quantity('test accuracy, %', (0.0, 100.0), 100, lambda result: result.accuracy),
    'images_per_second': Quantity(
        'training speed, images/s', (0.0, math.inf), 1, lambda result: result.images_per_second
    ),
}

WIDE = 5  # times; a logarithmic axis has a few ticks then


def report(workdir: str | Path, sweep: runs.Sweep) -> None:
    """Draws the figure of the sweep in `workdir`, if it has one: figure.svg, .png and .csv, whose paths it prints.

    Raises analysis.output.write's errors.
    """
    if sweep.figure is None:
        return
    table = output.write(Path(workdir) / 'figure.csv', output.to_csv(values(sweep)))
    for path in (*write_figure(sweep_figure(sweep), Path(workdir) / 'figure'), table):
        print(path)


def sweep_figure(sweep: runs.Sweep) -> Figure:
    """The figure that the sweep's manifest asks for: a panel per quantity, a line per curve, a point per arm."""
    placed = [arm for arm in sweep.arms if arm.place]
    panels = []
    for name in sweep.figure.quantities:
        quantity = QUANTITIES[name]
        curves: dict[str, list[Point]] = {}
        for arm in placed:
            numbers = tuple(number * quantity.unit for number in _numbers(arm, quantity))
            curves.setdefault(arm.place.curve, []).append(Point(arm.place.x, numbers, arm.complete))
        drawn = tuple(Curve(label, tuple(points)) for label, points in curves.items())
        panels.append(Panel(quantity.label, drawn, bounds=quantity.bounds, y_scale=_scale(quantity, drawn)))
    caption = [seeds_caption(placed), budget_caption(placed), *missing_captions(placed)]
    left_out = [arm.label for arm in sweep.arms if not arm.place]
    if left_out:
        caption.append(f'In the table alone: {listed_labels(left_out)}.')
    return line_figure(panels, x_label=sweep.figure.x, scale=sweep.figure.scale, caption=' '.join(caption))


def _scale(quantity: Quantity, curves: Iterable[Curve]) -> str:
    """Logarithmic for what has no upper bound and differs several times, where the lowest curves would be one line."""
    means = [sum(point.values) / len(point.values) for curve in curves for point in curve.points if point.values]
    wide = bool(means) and max(means) >= WIDE * min(means) > 0
    return 'log' if wide and math.isinf(quantity.bounds[1]) else 'linear'


def values(sweep: runs.Sweep) -> pd.DataFrame:
    """What the figure shows, in raw numbers (accuracies are fractions): a row per arm and quantity."""
    rows = []
    for arm in sweep.arms:
        for name in sweep.figure.quantities if arm.place else ():
            interval = statistics.mean_and_interval(_numbers(arm, QUANTITIES[name]), arm.complete)
            row = {'arm': arm.label, **arm.place._asdict(), 'quantity': name}
            row |= {'mean': interval.mean, 'low': interval.low, 'high': interval.high, 'n': interval.count}
            rows.append(row | {'runs': len(arm.runs)} | arm.unfinished)
    return pd.DataFrame(rows)


def _numbers(arm: runs.Arm, quantity: Quantity) -> list[float]:
    read = (quantity.read(run.result) for run in arm.finished)
    return [number for number in read if number is not None]
