"""An attention map for a paper: one image, one patch, and where every head of every layer looks from there."""

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.drawing.maps import MAP_STYLE, MOST_HEADS, MOST_LAYERS, bare, evenly, name_row
from analysis.drawing.style import DPI, SMALL
from analysis.heads.attention import attention_parts
from analysis.heads.rollout import pooled_rollout
from analysis.heads.trained import Trained
from analysis.page.pictures import Picture
from models.patches import Grid

SIDE = 1.25  # inches of a map
HOT = LinearSegmentedColormap.from_list('hot', [(1.0, 0.62, 0.0, 0.0), (1.0, 0.62, 0.0, 0.93)])


def attention_map(trained: Trained, image: UInt8[np.ndarray, 'height width channels'], title: str) -> Picture:
    """The maps of one image, from its patch that the pooled output came from most; layers down, heads across.

    The first column is the image with that patch, the last the rollout of the pooled output up to the layer.
    """
    weights = np.asarray(attention_parts(trained, image[None]).weights, np.float32)[:, :, 0]
    rollout = pooled_rollout(weights)
    patch = int(np.argmax(rollout[-1]))
    layers, heads = evenly(len(weights), MOST_LAYERS), evenly(weights.shape[1], MOST_HEADS)
    with matplotlib.rc_context(MAP_STYLE):
        width, height = (SIDE + 0.08) * (len(heads) + 2) + 0.8, (SIDE + 0.1) * len(layers) + 0.75
        figure = Figure(figsize=(width, height), dpi=DPI)
        axes = figure.subplots(len(layers), len(heads) + 2, squeeze=False)
        figure.subplots_adjust(0.75 / width, 0.42 / height, 1 - 0.05 / width, 1 - 0.33 / height, 0.06, 0.08)
        titles = ['image', *(f'head {head}' for head in heads), 'rollout']
        for place, text in zip(axes[0], titles, strict=True):
            place.set_title(text, fontsize=SMALL)
        for line, layer in zip(axes, layers, strict=True):
            name_row(line[0], f'layer {layer}')
            maps = [None, *(weights[layer, head, patch] for head in heads), rollout[layer]]
            for place, values in zip(line, maps, strict=True):
                _draw(place, image, trained.grid, values, None if values is maps[-1] else patch)
        note = 'Frame: the patch that looks. Brightest: the largest weight of each map. Rollout: for the pooled output.'
        figure.text(0.75 / width, 0.12 / height, note, fontsize=SMALL, color='#444444')
    row, column = np.unravel_index(patch, trained.grid)
    about = f'Where the heads look from the patch in row {row + 1}, column {column + 1} of one image. {title}.'
    return Picture('attention_map', title, about, figure)


def _draw(
    axes: Axes,
    image: UInt8[np.ndarray, 'height width channels'],
    grid: Grid,
    values: Float[np.ndarray, 'tokens'] | None,
    patch: int | None,
) -> None:
    extent = (0, grid[1], grid[0], 0)
    grey = np.mean(image, axis=-1) * (1.0 if values is None else 0.6)
    axes.imshow(grey, cmap='gray', vmin=0, vmax=255, extent=extent, interpolation='nearest')
    if values is not None:
        shown = values.reshape(grid) / max(float(values.max()), 1e-12)
        axes.imshow(shown, cmap=HOT, vmin=0, vmax=1, extent=extent, interpolation='nearest')
    if patch is not None:
        row, column = np.unravel_index(patch, grid)
        axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor='#fefefe', linewidth=1.6))
    bare(axes)
