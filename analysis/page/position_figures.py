"""Figures of positional encodings: each draws all states beside each other, or over each other."""

from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from analysis.drawing.maps import (
    BAR,
    MAP_STYLE,
    MOST_HEADS,
    colour_bar,
    draw_squares,
    evenly,
    margins,
    name_row,
    panels,
)
from analysis.drawing.style import COLOURS, DPI, SMALL, STYLE
from analysis.page.position_maps import Map, Maps, States, code_map
from models.patches import Grid
from models.positions.gaussian import Gaussian

MOST_MOSAICS = 3  # layers: their maps are large
MOSAIC, PANEL = 3.1, 1.35  # inches: side of a map of all places, and of one of a head


def codes_figure(states: States, grid: Grid) -> Figure:
    """Mosaics of cosines: a row per layer, a column per state."""
    layers = evenly(max(len(each) for each in states.values()), MOST_MOSAICS)
    with matplotlib.rc_context(MAP_STYLE):
        size = (MOSAIC * len(states) + BAR + 0.2, (MOSAIC + 0.25) * len(layers) + 0.1)
        figure = Figure(figsize=size, dpi=DPI)
        axes = figure.subplots(len(layers), len(states), squeeze=False, gridspec_kw=margins(figure))
        for row, layer in zip(axes, layers, strict=True):
            for place, (state, each) in zip(row, states.items(), strict=True):
                mesh = draw_squares(place, code_map(each[layer], grid), (-1.0, 1.0))
                for axis, lines in ((0, place.axhline), (1, place.axvline)):
                    for line in range(grid[axis], grid[axis] ** 2, grid[axis]) if 1 not in grid else ():
                        lines(line, color='#777777', linewidth=1.0)
                place.set_title(state if len(layers) == 1 else f'layer {layer}, {state}', fontsize=SMALL)
        colour_bar(figure, mesh, 'cosine')
        return figure


def heads_figure(
    maps: dict[str, dict[str, Maps | list[Map]]],
    limits: tuple[float, float] | None = None,
    title: Callable[[int], str] = 'head {}'.format,
) -> Figure:
    """Small maps, by state and by the name of a layer: a row per layer and state, a column per head.

    Args:
      limits: values of the last colours; default: the largest of all maps, on both sides of zero.
      title: what a column is of, by its place among the maps of a layer.
    """
    rows = [(layer, state) for layer in next(iter(maps.values())) for state in maps]
    heads = evenly(max(len(maps[state][layer]) for layer, state in rows), MOST_HEADS)
    if limits is None:
        largest = max(
            np.nanmax(np.abs(one)) for each in maps.values() for of_layer in each.values() for one in of_layer
        )
        limits = (-float(largest or 1.0), float(largest or 1.0))
    with matplotlib.rc_context(MAP_STYLE):
        width, height = PANEL * len(heads) + BAR + 1.4, (PANEL + 0.12) * len(rows) + 0.4
        figure = Figure(figsize=(width, height), dpi=DPI)
        axes = figure.subplots(len(rows), len(heads), squeeze=False, gridspec_kw=margins(figure, left=1.3))
        for place, head in zip(axes[0], heads, strict=True):
            place.set_title(title(head), fontsize=SMALL)
        for line, (layer, state) in zip(axes, rows, strict=True):
            for place, head in zip(line, heads, strict=True):
                mesh = draw_squares(place, maps[state][layer][head], limits)
            name_row(line[0], f'{layer}\n{state}'.strip())
        colour_bar(figure, mesh, '')
        return figure


def gaussians_figure(states: States, grid: Grid) -> Figure:
    """Where heads look from a query, over the offsets of the grid: a panel per layer."""
    layers = evenly(len(next(iter(states.values()))))
    note = 'Dotted: before training. Each colour is a head.'
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(layers), (3.0, 3.2), note, left=0.1, below=0.04, gap=0.3, beside=0.3)
        for place, layer in zip(axes, layers, strict=True):
            for state, each in states.items():
                draw_gaussians(place, each[layer], state == 'after training')
            place.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor='#000000', linewidth=1.5))
            place.set_xlim(0.5 - grid[1], grid[1] - 0.5)
            place.set_ylim(grid[0] - 0.5, 0.5 - grid[0])
            place.set_aspect('equal')
            place.set_title(f'layer {layer}')
            place.set_xlabel('columns from the query')
        axes[0].set_ylabel('rows from the query')
        return figure


def draw_gaussians(axes: Axes, encoding: Gaussian, solid: bool) -> None:
    """An ellipse of one standard deviation for each head, around the offset where it looks."""
    for head, (centre, matrix) in enumerate(
        zip(np.asarray(encoding.centres[...]), np.asarray(encoding.spreads[...]), strict=True)
    ):
        # The axes of the ellipse are those of (A^T A)^-1, whose roots are A's inverse singular values.
        _, singular, directions = np.linalg.svd(matrix)
        wide, narrow = 2 / np.maximum(singular[::-1], 1e-3)
        row, column = directions[-1]
        colour = COLOURS[head % len(COLOURS)]
        look = {'alpha': 0.35, 'facecolor': colour} if solid else {'facecolor': 'none', 'linestyle': ':'}
        angle = float(np.degrees(np.arctan2(row, column)))
        axes.add_patch(Ellipse(centre[::-1], wide, narrow, angle=angle, edgecolor=colour, linewidth=1.3, **look))
        axes.plot(centre[1], centre[0], 'o', color=colour, markerfacecolor=colour if solid else '#ffffff', markersize=4)


def frequencies_figure(states: States) -> Figure:
    """How far each pair of channels turns per row and per column: a panel per layer."""
    layers = evenly(len(next(iter(states.values()))))
    note = 'Hollow: before training. Each colour is a head.' if 'before training' in states else ''
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(layers), (3.0, 3.0), note, left=0.12, below=0.05, gap=0.2, beside=0.4, share=True)
        for place, layer in zip(axes, layers, strict=True):
            for state, each in states.items():
                for head, points in enumerate(np.asarray(each[layer].turns())):
                    colour, solid = COLOURS[head % len(COLOURS)], state != 'before training'
                    face = colour if solid else '#ffffff'
                    place.plot(points[:, 1], points[:, 0], 'o', color=colour, markerfacecolor=face, markersize=4)
            place.set_title(f'layer {layer}' if len(layers) > 1 else 'all layers')
            place.set_xlabel('per column')
        axes[0].set_ylabel('radians per row')
        return figure
