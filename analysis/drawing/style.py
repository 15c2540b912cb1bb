"""How every figure looks, how wide its texts are, and how it is written."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from analysis.output import write

# Okabe & Ito 2008, "Color Universal Design", without its yellow, which is too light on white.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#000000', '#E69F00', '#56B4E9')
DPI = 200  # of the PNG: two pixels for each of the 900 that a page shows
TEXT, SMALL = 9.5, 8.5  # points

STYLE = {
    'font.family': 'DejaVu Sans',  # comes with matplotlib: the same picture everywhere
    'font.size': TEXT,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.titlesize': TEXT + 1,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e4e4e4',
    'grid.linewidth': 0.7,
    'figure.facecolor': 'white',
    'savefig.facecolor': 'white',
    'text.parse_math': False,  # a label is text, never a formula
    'svg.hashsalt': 'patchwise',  # with no date either, the same numbers give the same file
}


def text_width(text: str, size: float) -> float:
    """How wide a text is that is set in so many points; in inches."""
    return TextPath((0, 0), text, size=size).get_extents().width / 72 if text.strip() else 0.0


def write_figure(figure: Figure, stem: Path) -> list[Path]:
    """Writes `stem`.svg and `stem`.png, each whole or not at all; the same figure gives the same bytes.

    Raises analysis.output.write's errors.
    """
    paths = []
    for suffix, metadata in (('svg', {'Date': None}), ('png', {})):
        content = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            figure.savefig(content, format=suffix, metadata=metadata, dpi=DPI)
        paths.append(write(stem.with_name(f'{stem.name}.{suffix}'), content.getvalue()))
    return paths
