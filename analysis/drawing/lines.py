"""Line figures: panels side by side, points at means over seeds, bands at their confidence intervals, notes below.

Knows nothing of runs. matplotlib's object interface throughout: no state outlives a figure.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from analysis import statistics
from analysis.drawing.style import COLOURS, DPI, SMALL, STYLE, TEXT, text_width
from analysis.wording import listed_labels, shortened

MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>', 'p', 'h')
DASHES = ('-', (0, (5, 2)), (0, (1, 1.5)))  # the next one when the colours are through
# By whether points are marked. No two numbers up to there share a colour and a marker: 7 and 11 have no common factor.
MOST_CURVES = {False: len(COLOURS) * len(DASHES), True: len(COLOURS) * len(MARKERS)}
FEW_CURVES = 6  # whose bands can be told apart; those of more are paler

WIDTH, PANEL_HEIGHT = 9.0, 3.3  # inches
LEFT, RIGHT, TOP, TITLE, GAP, SHARED_GAP = 0.8, 0.15, 0.15, 0.25, 0.95, 0.3  # inches around and between panels
MARGIN = 0.2  # inches left of the legend and the caption
LINE, LEGEND_LINE = 0.16, 0.175  # inches of a line of the caption, and of the legend
LONGEST_CATEGORY, CAPTION_WIDTH, MOST_CAPTION_LINES = 30, 136, 9  # characters, and lines


class Point(NamedTuple):
    """A point of a curve, in the panel's unit."""

    x: float | str
    values: tuple[float, ...]  # one per seed
    complete: bool = True  # False: runs of it are missing, so it is drawn hollow and has no interval


class Curve(NamedTuple):
    """A line of a panel. Curves of the same label look alike in all panels."""

    label: str
    points: tuple[Point, ...]


class Panel(NamedTuple):
    """One pair of axes."""

    y_label: str  # with the unit
    curves: tuple[Curve, ...]
    title: str = ''
    bounds: tuple[float, float] = (-math.inf, math.inf)  # which the axis keeps, however wide an interval is
    x_label: str = ''  # of a horizontal axis of its own, with a log scale; '': the one that panels share
    front: tuple[tuple[float, float], ...] = ()  # points that a grey line joins
    y_scale: str = 'linear'  # or 'log'


class _Axis(NamedTuple):
    """The horizontal axis that panels share."""

    scale: str
    places: dict[float | str, float]  # where each x stands
    ticks: list[tuple[float, str]]
    limits: tuple[float, float]
    angle: int  # of the ticks' labels, degrees
    height: float  # inches below the panel, with the label


def line_figure(
    panels: Sequence[Panel],
    *,
    x_label: str,
    scale: str = 'linear',
    caption: str = '',
    ticks: dict[int | float, str] | None = None,
    verticals: dict[str, Sequence[int | float]] | None = None,
    share_y: bool = False,
    markers: bool = True,
) -> Figure:
    """Panels side by side, one legend and a caption below them, 900 pixels wide at 100 to the inch.

    Args:
      scale: 'linear', 'log', or 'category', where x are texts and stand in their order of appearance.
      ticks: a text for each x to be labelled, instead of the x itself.
      verticals: dashed vertical lines, by their name in the legend.
      share_y: the panels have one y axis.
      markers: points are marked, not joined alone; the only point of a curve is in any case, having no line.
    """
    with matplotlib.rc_context(STYLE):
        labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
        most = MOST_CURVES[markers]
        if len(labels) > most:
            caption += f' Not drawn, for want of colours: {listed_labels(labels[most:])}.'
        alone = {curve.label for panel in panels for curve in panel.curves if _is_point(curve)}
        styles = {label: _style(number, markers or label in alone) for number, label in enumerate(labels[:most])}
        keys = _keys(styles, verticals or {}, any(panel.front for panel in panels))
        columns, rows = _legend_shape([key.get_label() for key in keys])
        lines = _caption_lines(caption)

        gap = SHARED_GAP if share_y else GAP
        panel_width = (WIDTH - LEFT - RIGHT - gap * (len(panels) - 1)) / len(panels)
        axis_of = _axes_of(panels, scale, ticks, panel_width)
        legend_bottom = 0.1 + len(lines) * LINE
        panel_bottom = legend_bottom + rows * LEGEND_LINE + 0.15 + max(axis.height for axis in axis_of.values())
        top = TOP + (TITLE if any(panel.title for panel in panels) else 0)
        height = panel_bottom + PANEL_HEIGHT + top

        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        grid = figure.add_gridspec(
            1, len(panels), left=LEFT / WIDTH, right=1 - RIGHT / WIDTH, bottom=panel_bottom / height,
            top=1 - top / height, wspace=gap / panel_width,
        )  # fmt: skip
        drawn = _side_by_side(figure, grid, panels, share_y)
        for axes, panel in zip(drawn, panels, strict=True):
            _draw(axes, panel, axis_of[panel], styles, [x for xs in (verticals or {}).values() for x in xs], markers)
            axes.set_xlabel(panel.x_label or x_label)
        # When all is drawn: limits that are set no longer follow what a neighbour draws on a shared axis.
        for axes, panel in zip(drawn, panels, strict=True):
            _bound(axes, panel.bounds)
        figure.legend(
            handles=keys, ncols=columns, loc='lower left', bbox_to_anchor=(MARGIN / WIDTH, legend_bottom / height),
            frameon=False, fontsize=SMALL, borderpad=0, borderaxespad=0, handlelength=3, labelspacing=0.4,
        )  # fmt: skip
        figure.text(MARGIN / WIDTH, 0.07 / height, '\n'.join(lines), fontsize=SMALL, color='#444444', linespacing=1.25)
        return figure


def _side_by_side(figure: Figure, grid: GridSpec, panels: Sequence[Panel], share_y: bool) -> list[Axes]:
    """Empty axes side by side; those that share the y axis of the first have no labels of their own on it."""
    made: list[Axes] = []
    for place, panel in zip(grid, panels, strict=True):
        shared = share_y and bool(made)
        axes = figure.add_subplot(place, sharey=made[0] if shared else None)
        if shared:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(panel.y_label)
        made.append(axes)
    return made


VERTICAL = {'color': '#777777', 'linestyle': '--', 'linewidth': 1.2}
FRONT = {'color': '#777777', 'linestyle': '-', 'linewidth': 1.0, 'drawstyle': 'steps-post'}


def _style(number: int, marked: bool = True) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    return {
        'color': colour,
        'marker': MARKERS[number % len(MARKERS)] if marked else 'none',
        'linestyle': DASHES[number // len(COLOURS) % len(DASHES)],
        'linewidth': 1.6,
        'markersize': 6,
    }


def _keys(styles: dict[str, dict[str, Any]], verticals: Iterable[str], front: bool) -> list[Line2D]:
    """What the legend explains."""
    keys = [Line2D([], [], label=shortened(label), **style) for label, style in styles.items()]
    keys += [Line2D([], [], label=name, **VERTICAL) for name in verticals]
    return [*keys, Line2D([], [], label='Pareto front', **FRONT)] if front else keys


def _legend_shape(labels: list[str]) -> tuple[int, int]:
    """As many columns as fit, and the rows that they leave."""
    widest = max((text_width(label, SMALL) for label in labels), default=0.0)
    columns = max(1, min(len(labels), int((WIDTH - 2 * MARGIN) / (widest + 0.75))))  # 0.75: the line, and space
    return columns, math.ceil(len(labels) / columns)


def _caption_lines(caption: str) -> list[str]:
    lines = textwrap.wrap(caption, CAPTION_WIDTH)
    if len(lines) > MOST_CAPTION_LINES:
        lines[MOST_CAPTION_LINES - 1 :] = [lines[MOST_CAPTION_LINES - 1][: CAPTION_WIDTH - 1] + '…']
    return lines


def _axes_of(
    panels: Sequence[Panel], scale: str, ticks: dict[int | float, str] | None, width: float
) -> dict[Panel, _Axis]:
    """The horizontal axis of each panel: its own, or the one that the others share."""
    shared = [panel for panel in panels if not panel.x_label]
    own = {panel: _axis([panel], 'log', None, width) for panel in panels if panel.x_label}
    return own | dict.fromkeys(shared, _axis(shared, scale, ticks, width))


def _in_short(number: float) -> str:
    """57706 as 57.7k."""
    number = float(f'{number:.3g}')  # before the unit is chosen, which it may round up to
    unit, letter = next(
        (pair for pair in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')) if number >= pair[0]), (1, '')
    )
    return f'{number / unit:.3g}{letter}'


def _axis(panels: Sequence[Panel], scale: str, ticks: dict[int | float, str] | None, width: float) -> _Axis:
    own = any(panel.x_label for panel in panels)
    xs = list(dict.fromkeys(point.x for panel in panels for curve in panel.curves for point in curve.points))
    if scale == 'category':
        places = {x: float(number) for number, x in enumerate(xs)}
        ticks = {places[x]: shortened(x, LONGEST_CATEGORY) for x in xs}
        limits = (-0.5, max(len(xs), 1) - 0.5)
    else:
        places = {x: float(x) for x in xs}
        given = (
            {x: _in_short(x) for x in places.values()} if own else ticks or {x: f'{x:,.10g}' for x in places.values()}
        )
        ticks = {float(x): text for x, text in given.items()}
        limits = _limits(places.values(), scale)
    widths = {x: max(text_width(line, TEXT) for line in text.split('\n')) + 0.12 for x, text in ticks.items()}
    widest, slot = max(widths.values(), default=0.0), width / max(len(xs), 1)
    if scale == 'category' and widest > slot:
        # Slanted, if the first label does not run off the page.
        angle, height = (30, 0.5 + widest / 2) if widest * 0.87 < LEFT + slot / 2 else (90, 0.4 + widest)
    else:
        ticks = ticks if scale == 'category' else _that_fit(ticks, widths, limits, scale, width)
        angle, height = 0, 0.33 + 0.17 * max((text.count('\n') + 1 for text in ticks.values()), default=1)
    return _Axis(scale, places, sorted(ticks.items()), limits, angle, height)


def _limits(xs: Iterable[float], scale: str) -> tuple[float, float]:
    """A twentieth of the range beyond the first and the last."""
    low, high = min(xs, default=1.0), max(xs, default=1.0)
    if scale == 'log':
        margin = (high / low) ** 0.05 if high > low else 1.5
        return low / margin, high * margin
    margin = (high - low) * 0.05 if high > low else 0.5
    return low - margin, high + margin


def _that_fit(ticks, widths, limits: tuple[float, float], scale: str, width: float) -> dict[float, str]:
    """The ticks whose labels run into none kept before; the first and the last come first."""
    warp = math.log if scale == 'log' else float
    low, high = map(warp, limits)
    ordered, kept = sorted(ticks), {}
    for x in (*ordered[:1], *ordered[:0:-1]):
        centre = (warp(x) - low) / (high - low) * width
        if all(abs(centre - there) >= (widths[x] + widths[other]) / 2 for other, there in kept.items()):
            kept[x] = centre
    return {x: ticks[x] for x in kept}


def _is_point(curve: Curve) -> bool:
    """Whether no line can show it."""
    return sum(bool(point.values) for point in curve.points) == 1


def _draw(
    axes: Axes,
    panel: Panel,
    axis: _Axis,
    styles: dict[str, dict[str, Any]],
    verticals: Iterable[int | float],
    markers: bool,
) -> None:
    axes.set_xscale('log' if axis.scale == 'log' else 'linear')
    for x in verticals:
        axes.axvline(x, zorder=1, **VERTICAL)
    if panel.front:
        axes.plot(*zip(*panel.front, strict=True), zorder=1, **FRONT)
    drawn = [curve for curve in panel.curves if curve.label in styles]
    opacity = 0.15 if len(drawn) <= FEW_CURVES else 0.06
    for number, curve in enumerate(drawn):
        # Side by side where a category would stack them.
        shift = (number - (len(drawn) - 1) / 2) * min(0.2, 0.7 / len(drawn)) if axis.scale == 'category' else 0.0
        style = styles[curve.label] if markers or _is_point(curve) else {**styles[curve.label], 'marker': 'none'}
        _draw_curve(axes, curve, axis, shift, style, opacity)
    axes.xaxis.set_major_locator(FixedLocator([x for x, _ in axis.ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([x for x, _ in axis.ticks], [text for _, text in axis.ticks])
    if axis.angle:
        for text in axes.get_xticklabels():
            text.set(
                rotation=axis.angle, rotation_mode='anchor', ha='right', va='center' if axis.angle == 90 else 'top'
            )
    axes.set_xlim(axis.limits)
    if panel.y_scale == 'log':
        axes.set_yscale('log')
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:,.10g}'))
    axes.set_title(panel.title)


def _bound(axes: Axes, bounds: tuple[float, float]) -> None:
    if axes.get_yscale() == 'log':
        return  # it has room of its own, and no bound to reach
    low, high = axes.get_ylim()
    low, high = max(low, bounds[0]), min(high, bounds[1])
    room = 0.02 * (high - low)  # for a marker at the bound
    axes.set_ylim(low - room, high + room)


def _draw_curve(axes: Axes, curve: Curve, axis: _Axis, shift: float, style: dict[str, Any], opacity: float) -> None:
    points = sorted((point for point in curve.points if point.values), key=lambda point: axis.places[point.x])
    x = np.array([axis.places[point.x] + shift for point in points])
    intervals = np.array([_interval(point) for point in points]).reshape(-1, 3)
    mean, low, high = intervals.T
    known = np.isfinite(low)
    axes.plot(x, mean, **{**style, 'marker': 'none'})
    alone = known
    if axis.scale != 'category':
        axes.fill_between(x, low, high, color=style['color'], alpha=opacity, linewidth=0)
        # A band has no width at a point whose neighbours have no interval.
        beside = np.zeros(len(x), bool)
        beside[1:] |= known[:-1]
        beside[:-1] |= known[1:]
        alone = known & ~beside
    axes.errorbar(
        x[alone], mean[alone], [(mean - low)[alone], (high - mean)[alone]],
        fmt='none', ecolor=style['color'], elinewidth=1.2, capsize=3,
    )  # fmt: skip
    complete = np.array([point.complete for point in points], bool)
    for chosen, face in ((complete, style['color']), (~complete, 'white')):
        axes.plot(x[chosen], mean[chosen], **{**style, 'linestyle': 'none'}, markerfacecolor=face)


def _interval(point: Point) -> tuple[float, float, float]:
    """Mean, and the ends of its interval."""
    return statistics.mean_and_interval(point.values, point.complete)[:3]
