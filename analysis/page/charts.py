"""The charts of a sweep: what its arms reach, what they cost, how they learned, and how they scale."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis import figures
from analysis.captions import missing_captions, seeds_caption
from analysis.drawing.lines import Curve, Panel, Point, line_figure
from analysis.extrapolation import written
from analysis.extrapolation.figure import extrapolation_figure
from analysis.page.arms import Row, told_apart
from analysis.page.pictures import Picture
from analysis.reading import records, runs
from configs.fields import flatten
from files.values import is_number
from training.recording import log as training_log

logger = logging.getLogger(__name__)

MOST_POINTS = 40  # of a learning curve
LARGEST_LOG = 64 << 20  # bytes of a metrics.jsonl that is read
CURVES = {'train_loss': 'training loss as optimised, nats', 'validation_accuracy': 'validation accuracy, %'}
BY_DATA = ('seed', 'data.train_fraction', 'data.train_examples')  # in which arms of one curve over data may differ
COSTS = {  # of an arm: what it is, the axis, and whether less is better
    'params': ('params', 'params', True),
    'forward_flops': ('FLOPs', 'forward FLOPs of an image', True),
    'images_per_second': ('speed', 'training speed, images/s', False),
}


def pareto_front(
    costs: Sequence[float], values: Sequence[float], less_is_better: bool = True
) -> tuple[tuple[float, float], ...]:
    """The points that no other beats in both ways, from the cheapest: (cost, value), the higher value the better."""
    sign = 1 if less_is_better else -1
    front: list[tuple[float, float]] = []
    for cost, value in sorted(zip(costs, values, strict=True), key=lambda point: (sign * point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((float(cost), float(value)))
    return tuple(front)


def trade_offs(rows: Sequence[Row]) -> Picture | None:
    """Accuracy against params, FLOPs and speed, with the Pareto front of each; None where there are no two arms."""
    finished = [row for row in rows if row.arm.finished]
    if len(finished) < 2:
        return None
    panels = []
    for name, (title, x_label, less_is_better) in COSTS.items():
        known = [(row, _cost(row, name)) for row in finished]
        known = [(row, cost) for row, cost in known if cost]
        if not known:
            continue
        curves = [Curve(row.label, (Point(cost, _percents(row.arm), row.arm.complete),)) for row, cost in known]
        # Not of arms with a run that did not finish: survivors would win.
        compared = [curve.points[0] for curve in curves if curve.points[0].complete]
        front = pareto_front(
            [point.x for point in compared], [float(np.mean(point.values)) for point in compared], less_is_better
        )
        panels.append(
            Panel('test accuracy, %', tuple(curves), f'Accuracy against {title}', (0.0, 100.0), x_label, front)
        )
    if not panels:
        return None
    caption = [
        seeds_caption([row.arm for row in finished]),
        'No other arm is better in both than an arm on the Pareto front; only arms with all runs finished count.',
    ]
    caption += missing_captions([row.arm for row in rows])
    best = '; '.join(f'{panel.title.lower()}: {_on_front(panel)}' for panel in panels)
    figure = line_figure(panels, x_label='', caption=' '.join(caption), share_y=True)
    return Picture('trade_offs', 'Accuracy and what it costs', f'Pareto fronts. {best}.', figure)


def _cost(row: Row, name: str) -> float | None:
    """The mean over the runs that tell it, to three digits where it is a measurement."""
    values = [getattr(run.result, name) for run in row.arm.finished]
    values = [value for value in values if value is not None]
    if not values:
        return None
    mean = float(np.mean(values))
    return float(f'{mean:.3g}') if name == 'images_per_second' else mean


def _on_front(panel: Panel) -> str:
    """Its arms by name, the first of two that are the same point."""
    at: dict[tuple[float, float], str] = {}
    for curve in panel.curves:
        for point in curve.points:
            if point.complete:
                at.setdefault((point.x, float(np.mean(point.values))), curve.label)
    named = ', then '.join(f'{at[point]} at {point[1]:.2f}%' for point in panel.front)
    return named or 'no arm has all its runs finished'


def learning_curves(workdir: Path, rows: Sequence[Row]) -> Picture | None:
    """Loss in training and accuracy on validation by step, over the seeds of each arm; None where no run left a log."""
    read = {row.number: [_read_log(workdir, run) for run in row.arm.runs] for row in rows}
    panels, steps = [], set()
    for name, y_label in CURVES.items():
        curves = [
            Curve(row.label, _learning_points([log[name] for log in read[row.number]], 100 if '%' in y_label else 1))
            for row in rows
        ]
        curves = [curve for curve in curves if curve.points]
        if curves:
            steps |= {point.x for curve in curves for point in curve.points}
            bounds = (0.0, 100.0) if '%' in y_label else (0.0, math.inf)
            panels.append(Panel(y_label, tuple(curves), y_label.split(',')[0].capitalize(), bounds))
    if not panels:
        return None
    caption = (
        'Mean over the seeds that logged the step; where all seeds did, with its 95% confidence interval (Student t).'
    )
    figure = line_figure(panels, x_label='step', caption=caption, ticks=_step_ticks(steps), markers=False)
    last = '; '.join(f'{curve.label} {np.mean(curve.points[-1].values):.4g}' for curve in panels[-1].curves)
    return Picture('learning_curves', 'How they learned', f'{panels[-1].y_label} at the end: {last}.', figure)


def _step_ticks(steps: set[float]) -> dict[float, str]:
    """Round numbers up to the last step; where all of them are before the first, the last step itself."""
    ticks = [tick for tick in MaxNLocator(5, integer=True).tick_values(0, max(steps)) if 0 <= tick <= max(steps)]
    return {float(tick): f'{tick:,.0f}' for tick in (ticks if ticks[-1] >= min(steps) else [max(steps)])}


def _read_log(workdir: Path, run: records.Run) -> dict[str, dict[int, float]]:
    """By quantity and step what a run logged; what is no number there is left out."""
    path = runs.folder_of(workdir, run) / training_log.METRICS
    found: dict[str, dict[int, float]] = {name: {} for name in CURVES}
    if not path.is_file() or path.stat().st_size > LARGEST_LOG:
        return found
    if run.result and run.result.rows and not training_log.holds(path.parent, training_log.Mark(*run.result.rows)):
        logger.warning('%s is not what the run wrote; its curves are left out', path)
        return found
    for row in training_log.read_rows(path):
        step = row['step']
        for name in CURVES if isinstance(step, int) and 0 <= step < 2**53 else ():
            value = row.get(name)
            if is_number(value):
                found[name][step] = float(value)
    return found


def _learning_points(logs: Sequence[dict[int, float]], unit: int | float) -> tuple[Point, ...]:
    """The means of at most MOST_POINTS stretches of steps, each with a value a seed that logged any of them."""
    steps = sorted(set().union(*logs))
    points = []
    for stretch in np.array_split(steps, min(MOST_POINTS, len(steps))) if steps else ():
        of_seeds = [[log[int(step)] for step in stretch if int(step) in log] for log in logs]
        values = tuple(unit * float(np.mean(values)) for values in of_seeds if values)
        points.append(Point(float(np.mean(stretch)), values, complete=len(values) == len(logs)))
    return tuple(points)


def scaling_curves(sweep: runs.Sweep) -> Picture | None:
    """Accuracy by the training images used, where the arms differ in that; None where they do not.

    Where the sweep has a figure of its own, that is drawn instead.
    """
    if sweep.figure is not None:
        about = f'{", ".join(sweep.figure.quantities)} by {sweep.figure.x}'.replace('_', ' ')
        title = 'By the amount of data' if 'training images' in sweep.figure.x else f'By {sweep.figure.x}'
        return Picture('figure', title, f'{about}; figure.csv has the numbers.', figures.sweep_figure(sweep))
    curves = _curves_over_data(sweep.arms)
    if not curves:
        return None
    panel = Panel('test accuracy, %', curves, bounds=(0.0, 100.0))
    figure = line_figure([panel], x_label='training images', scale='log', caption=seeds_caption(sweep.arms))
    most = [(curve.label, max(curve.points, key=lambda point: point.x)) for curve in curves]
    about = '; '.join(f'{label} {np.mean(point.values):.2f}% with {point.x:,.0f}' for label, point in most)
    about = f'Test accuracy by number of training images. With the most images: {about}.'
    return Picture('data_scaling', 'By the amount of data', about, figure)


def _curves_over_data(arms: Sequence[runs.Arm]) -> tuple[Curve, ...]:
    """A curve for arms that differ in the amount of data alone, named by what tells its config from the others'."""
    found: dict[str, tuple[dict, list[Point]]] = {}
    for arm in arms:
        size = next((run.result.train_examples for run in arm.finished if run.result.train_examples), None)
        if size is not None:
            rest = flatten(arm.finished[0].config) | dict.fromkeys(arm.tuned, 'tuned')
            rest = {name: value for name, value in rest.items() if name not in BY_DATA}
            _, points = found.setdefault(json.dumps(rest, sort_keys=True), (rest, []))
            points.append(Point(float(size), _percents(arm), arm.complete))
    several = [(rest, points) for rest, points in found.values() if len({point.x for point in points}) > 1]
    labels = told_apart([rest for rest, _ in several]) if len(several) > 1 else ['accuracy'] * len(several)
    return tuple(Curve(label, tuple(points)) for label, (_, points) in zip(labels, several, strict=True))


def extrapolation_curves(workdir: Path, sweep: runs.Sweep) -> Picture | None:
    """The figure of eval.py --resolutions, of the runs that are still there; None where it left nothing of them."""
    left = written.read(workdir, sweep)
    if left is None:
        return None
    about = 'Accuracy on images of sizes other than in training; extrapolation.csv has the numbers.'
    return Picture('extrapolation', 'Beyond the trained length', about, extrapolation_figure(*left))


def _percents(arm: runs.Arm) -> tuple[float, ...]:
    return tuple(100 * accuracy for accuracy in arm.accuracies)
