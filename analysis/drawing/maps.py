"""Maps of squares in colour: their style, and how they, their names and their colour bar are laid out.

Knows nothing of runs. What draws here is called under `MAP_STYLE`, or another context of matplotlib's settings.
"""

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from analysis.drawing.style import DPI, SMALL, STYLE

MAP_STYLE = STYLE | {'axes.grid': False}
# Red above zero, blue below; grey where there is no number, since zero is nearly as white as the paper.
DIVERGING = matplotlib.colormaps['RdBu_r'].with_extremes(bad='#bdbdbd')
MOST_LAYERS, MOST_HEADS = 6, 8  # of a picture; the first and evenly between
MOST_SHAPES = 100  # squares of a map that are shapes of their own
TOP, BAR = 0.3, 0.9  # inches: above maps, and beside them for the colour bar
PANELS_A_LINE = 3


def evenly(count: int, most: int = MOST_LAYERS) -> list[int]:
    """All, or so many of them, evenly spread with the first and the last."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def without_frame(axes: Axes) -> None:
    """Hides the lines around `axes`."""
    for spine in axes.spines.values():
        spine.set_visible(False)


def bare(axes: Axes) -> None:
    """Leaves of `axes` what is drawn on them: no frame, no ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    without_frame(axes)


def name_row(axes: Axes, name: str) -> None:
    """Writes what a row of maps is of to the left of its first."""
    axes.set_ylabel(name, fontsize=SMALL, rotation=0, ha='right', va='center')


def draw_squares(axes: Axes, values: Float[np.ndarray, 'rows columns'], limits: tuple[float, float]) -> ScalarMappable:
    """A map, the first row on top: as shapes where squares are few, so that they stay sharp, else as an image.

    NaN is grey.

    Returns:
      What a colour bar can be of.
    """
    rows, columns = values.shape
    low, high = limits
    if values.size <= MOST_SHAPES:
        mesh = axes.pcolormesh(values, cmap=DIVERGING, vmin=low, vmax=high)
        axes.set_ylim(rows, 0)
    else:
        extent = (0, columns, rows, 0)
        mesh = axes.imshow(values, cmap=DIVERGING, vmin=low, vmax=high, extent=extent, interpolation='nearest')
    axes.set_aspect('equal')
    bare(axes)
    return mesh


def margins(figure: Figure, left: float = 0.1) -> dict[str, float]:
    """For a grid of maps, as `gridspec_kw`: room for titles above and for the colour bar, `left` inches for names."""
    width, height = figure.get_size_inches()
    return {
        'left': left / width, 'right': 1 - BAR / width, 'bottom': 0.08 / height, 'top': 1 - TOP / height,
        'wspace': 0.08, 'hspace': 0.14,
    }  # fmt: skip


def colour_bar(
    figure: Figure,
    mesh: ScalarMappable,
    label: str,
    *,
    tall: float | None = None,
    wide: float = 0.12,
    from_right: float = BAR - 0.12,
) -> None:
    """Explains the colours of `mesh`, right of the maps and level with the top of the first; sizes are in inches.

    Args:
      tall: default: as the figure, up to 2.4.
      from_right: of its left side, from the figure's right one.
    """
    width, height = figure.get_size_inches()
    tall = min(2.4, height - 0.5) if tall is None else tall
    place = (1 - from_right / width, (height - TOP - tall) / height, wide / width, tall / height)
    figure.colorbar(mesh, cax=figure.add_axes(place)).set_label(label)


def panels(
    count: int,
    size: tuple[float, float],
    note: str,
    *,
    left: float,
    below: float,
    gap: float,
    beside: float,
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, at most three side by side, and a note below them.

    Args:
      size: inches of each with the room around it, across and down.
      left: room left of the first, as a share of the figure's width.
      below: room below the last, as a share of the figure's height; the note has half an inch of its own.
      gap: room between two, as a share of their width.
      beside: inches of the figure's width beside them all.
      share: whether all have the same scales.
    """
    columns = min(PANELS_A_LINE, count)
    lines = -(-count // columns)
    height = size[1] * lines + 0.5
    figure = Figure(figsize=(size[0] * columns + beside, height), dpi=DPI)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=share, sharey=share).ravel()
    for place in axes[count:]:
        place.set_visible(False)
    figure.text(0.02, 0.01, note, fontsize=SMALL, color='#444444')
    figure.subplots_adjust(left, 0.5 / height + below, 0.98, 1 - TOP / height, gap, 0.35)
    return figure, list(axes[:count])
