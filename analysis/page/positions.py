"""Pictures of positional encodings: what they are before training, and what training made of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from ml_collections import ConfigDict

from analysis.drawing.style import COLOURS, DPI, SMALL, STYLE
from analysis.heads.attention import encodings
from analysis.heads.trained import Trained
from analysis.page.pictures import Picture
from data.spec import Spec
from models import Params
from models.patches import Grid, grid_coordinates
from models.positions import POSITIONS, AbsolutePositions, NoPositions, scores_by_head
from models.positions.conditional import ConditionalPositions
from models.positions.gaussian import Gaussian
from models.positions.relative import RelativeVectors
from models.positions.rotary import Rotary
from training.step import build_model, run_keys

DIVERGING = 'RdBu_r'  # red above zero, blue below
MOST_LAYERS, MOST_HEADS = 6, 8  # of a picture; the first and evenly between
PANEL, BAR = 1.35, 0.9  # inches: side of a small map, and room for the colour bar

Encodings = list[NoPositions]
States = dict[str, Encodings]  # by whether they are of before or after training
Drawn = tuple[list[tuple[str, str, Figure]], str]  # pictures by kind, with what each shows; and a note on them
Maps = Float[np.ndarray, 'heads rows columns']


def initial_positions(config: ConfigDict, spec: Spec) -> dict[int, Params]:
    """What a run of `config` had at the start below "positions", by copy."""
    model = build_model(config, spec)
    key, _ = run_keys(config.seed)
    # As a program, which leaves out the draws of all other params.
    return jax.jit(lambda key: model.init(key).get('positions', {}))(key)


def fixed_as(trained: Trained) -> tuple | None:
    """What an encoding without parameters depends on: arms that agree in it have the same pictures. None of others."""
    model = trained.config.model
    if jax.tree.leaves(trained.params.get('positions', {})):
        return None
    heads = model.num_heads if POSITIONS[model.positions.name].in_attention else None
    return model.positions.name, trained.grid, head_dim(trained) * model.num_heads, heads


def position_pictures(trained: Trained, name: str, title: str) -> tuple[list[Picture], str]:
    """The pictures of a run's encoding, and a line on what they show or on why there is none.

    Args:
      name: of the pictures' files, to begin with.
      title: what they are of.
    """
    model = trained.config.model
    variant, called = POSITIONS[model.positions.name], model.positions.name
    if variant is NoPositions:
        return [], 'Without positions there is nothing to draw.'
    after = encodings(model, trained.spec, trained.params)
    before = encodings(model, trained.spec, {'positions': initial_positions(trained.config, trained.spec)})
    learned = bool(jax.tree.leaves(trained.params.get('positions', {})))
    states = {'before training': before, 'after training': after} if learned else {'fixed': after}

    draw = _drawing(variant)
    if draw is None:
        return [], f'How to draw {called} is not known here.'
    drawn, note = draw(states, trained)
    pictures = [
        Picture(f'{name}_{kind}', f'{title}: {about}', f'{about}, {" and ".join(states)}.', figure)
        for kind, about, figure in drawn
    ]
    return pictures, note


def _drawing(variant: type[NoPositions]) -> Callable[[States, Trained], Drawn] | None:
    """How to draw an encoding: by what it is known to hold, else by what it adds to logits; None: not known."""
    known = (
        (AbsolutePositions, _draw_codes),
        (Gaussian, _draw_where_heads_look),
        (Rotary, _draw_turns),
        (ConditionalPositions, _draw_kernels),
        (RelativeVectors, _draw_vectors),
    )
    for kind, draw in known:
        if issubclass(variant, kind):
            return draw
    return _draw_biases if variant.scores_content_free else None


def _draw_codes(states: States, trained: Trained) -> Drawn:
    about = f'similarity of the codes of {_called(trained)} across the grid'
    note = 'Each small map is of one place: the cosine of its code with the code of every place of the grid.'
    return [('codes', about, _codes_figure(states, trained.grid))], note


def _draw_where_heads_look(states: States, trained: Trained) -> Drawn:
    about = 'where each head looks, as a Gaussian around the query'
    note = 'The square is the query; an ellipse is centred where the head looks, and reaches one standard deviation.'
    return [('gaussians', about, _gaussian_figure(states, trained.grid))], note


def _draw_turns(states: States, trained: Trained) -> Drawn:
    frequencies = f'frequencies of {_called(trained)}'
    note = (
        'A point is a pair of channels: how far it turns per row and per column. A map says, by offset, what is '
        'left of the product of a query and an equal key: the mean cosine of the pairs.'
    )
    maps = _by_state(states, lambda each: _rotary_maps(each, trained))
    return [
        ('frequencies', frequencies, _frequency_figure(states)),
        ('turns', f'{frequencies}, and the likeness that it leaves', _offset_figure(maps, (-1.0, 1.0))),
    ], note


def _draw_kernels(states: States, trained: Trained) -> Drawn:
    maps = {state: {'': _kernel_maps(each[0])} for state, each in states.items()}
    note = 'The 3 x 3 kernels of the first channels.'
    return [('kernels', 'the convolution that makes the codes', _offset_figure(maps))], note


def _draw_vectors(states: States, trained: Trained) -> Drawn:
    maps = {state: {f'layer {n}': _vector_maps(each[n]) for n in evenly(len(each))} for state, each in states.items()}
    note = 'For rows (left) and columns (right): the cosine of the vector of every offset with that of every other.'
    return [('vectors', 'similarity of the vectors of offsets', _offset_figure(maps, (-1.0, 1.0)))], note


def _draw_biases(states: States, trained: Trained) -> Drawn:
    about = f'logits that {_called(trained)} adds, by offset and head'
    note = 'A map has the query in its middle, and at each offset what is added to the logit of a key there.'
    return [('biases', about, _offset_figure(_by_state(states, lambda each: _score_maps(each, trained))))], note


def _called(trained: Trained) -> str:
    return trained.config.model.positions.name


def _by_state(states: States, maps: Callable[[NoPositions], Maps]) -> dict[str, dict[str, Maps]]:
    """For each state, the maps of its layers by their names; one name for all where they share an encoding."""
    return {
        state: {'' if len(each) == 1 else f'layer {layer}': maps(each[layer]) for layer in evenly(len(each))}
        for state, each in states.items()
    }


def evenly(count: int, most: int = MOST_LAYERS) -> list[int]:
    """All, or so many of them, evenly spread with the first and the last."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def _offsets(grid: Grid) -> Float[np.ndarray, 'rows columns 2']:
    """From one end of the grid to the other, both ways."""
    return np.stack(np.meshgrid(*(np.arange(1 - side, side) for side in grid), indexing='ij'), -1).astype(np.float32)


def _score_maps(encoding: NoPositions, trained: Trained) -> Maps:
    offsets, heads = _offsets(trained.grid), trained.config.model.num_heads
    scores = np.asarray(scores_by_head(encoding, None, None, offsets.reshape(1, -1, 2), heads))
    return scores[:, 0, 0].reshape(-1, *offsets.shape[:2])


def _rotary_maps(encoding: NoPositions, trained: Trained) -> Maps:
    """The mean cosine over pairs of channels, read off what the encoding does to equal queries and keys."""
    model, grid = trained.config.model, trained.grid
    reach = tuple(2 * side - 1 for side in grid)
    channels = head_dim(trained)
    ones = jnp.ones((model.num_heads, 1, reach[0] * reach[1], channels))
    turned, _ = encoding.rotate(ones, ones, grid_coordinates(reach))
    middle = turned.shape[2] // 2
    products = jnp.einsum('hd,htd->ht', turned[:, 0, middle], turned[:, 0]) / channels
    return np.asarray(products).reshape(-1, *reach)


def head_dim(trained: Trained) -> int:
    """Channels of a head, read from the params, since a width may have been solved for."""
    return trained.params['blocks'][0]['mixer']['out']['kernel'].shape[0] // trained.config.model.num_heads


def _kernel_maps(encoding: NoPositions) -> Maps:
    kernel = np.asarray(encoding.conv.kernel[...])
    return np.moveaxis(kernel[:, :, 0, :MOST_HEADS], -1, 0)


def _vector_maps(encoding: NoPositions) -> Maps:
    tables = [np.asarray(table[...], np.float32) for table in (encoding.rows, encoding.columns)]
    size = max(len(table) for table in tables)
    maps = np.full((2, size, size), np.nan, np.float32)
    for place, table in enumerate(tables):
        maps[place, : len(table), : len(table)] = _cosines(table)
    return maps


def _cosines(codes: Float[np.ndarray, 'places channels']) -> Float[np.ndarray, 'places places']:
    unit = codes / np.maximum(np.linalg.norm(codes, axis=-1, keepdims=True), 1e-12)
    return unit @ unit.T


def _codes_figure(states: States, grid: Grid) -> Figure:
    layers = evenly(max(len(each) for each in states.values()), 3)
    with matplotlib.rc_context(STYLE | {'axes.grid': False}):
        side = 3.1
        figure = Figure(figsize=(side * len(states) + BAR + 0.2, (side + 0.25) * len(layers) + 0.1), dpi=DPI)
        axes = figure.subplots(len(layers), len(states), squeeze=False, gridspec_kw=_margins(figure))
        for row, layer in enumerate(layers):
            for place, (state, each) in zip(axes[row], states.items(), strict=True):
                cosines = _cosines(np.asarray(each[layer].codes(grid_coordinates(grid)), np.float32))
                mosaic = cosines.reshape(*grid, *grid).transpose(0, 2, 1, 3).reshape(grid[0] ** 2, grid[1] ** 2)
                if 1 in grid:
                    mosaic = cosines
                mesh = _heat(place, mosaic, (-1.0, 1.0))
                for axis, lines in ((0, place.axhline), (1, place.axvline)):
                    for line in range(grid[axis], grid[axis] ** 2, grid[axis]) if 1 not in grid else ():
                        lines(line, color='#777777', linewidth=1.0)
                place.set_title(state if len(layers) == 1 else f'layer {layer}, {state}', fontsize=SMALL)
        _colour_bar(figure, mesh, 'cosine')
        return figure


def _offset_figure(maps: dict[str, dict[str, Maps]], limits: tuple[float, float] | None = None) -> Figure:
    """Small maps: a row per layer and state, a column per head."""
    rows = [(layer, state) for layer in next(iter(maps.values())) for state in maps]
    heads = evenly(max(len(maps[state][layer]) for layer, state in rows), MOST_HEADS)
    if limits is None:
        largest = max(np.nanmax(np.abs(of_layer)) for each in maps.values() for of_layer in each.values()) or 1.0
        limits = (-float(largest), float(largest))
    with matplotlib.rc_context(STYLE | {'axes.grid': False}):
        width, height = PANEL * len(heads) + BAR + 1.4, (PANEL + 0.12) * len(rows) + 0.4
        figure = Figure(figsize=(width, height), dpi=DPI)
        margins = _margins(figure, left=1.3)
        axes = figure.subplots(len(rows), len(heads), squeeze=False, gridspec_kw=margins)
        for line, (layer, state) in zip(axes, rows, strict=True):
            for place, head in zip(line, heads, strict=True):
                mesh = _heat(place, maps[state][layer][head], limits)
                if line is axes[0]:
                    place.set_title(f'{head}', fontsize=SMALL)
            line[0].set_ylabel(f'{layer}\n{state}'.strip(), fontsize=SMALL, rotation=0, ha='right', va='center')
        _colour_bar(figure, mesh, '')
        return figure


def _gaussian_figure(states: States, grid: Grid) -> Figure:
    layers = evenly(len(next(iter(states.values()))))
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(layers))
        lines = -(-len(layers) // columns)
        figure = Figure(figsize=(3.0 * columns + 0.3, 3.2 * lines + 0.5), dpi=DPI)
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for place in axes[len(layers) :]:
            place.set_visible(False)
        for place, layer in zip(axes, layers, strict=False):
            for state, each in states.items():
                _draw_gaussians(place, each[layer], state == 'after training')
            place.add_patch(Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor='#000000', linewidth=1.5))
            place.set_xlim(0.5 - grid[1], grid[1] - 0.5)
            place.set_ylim(grid[0] - 0.5, 0.5 - grid[0])
            place.set_aspect('equal')
            place.set_title(f'layer {layer}')
            place.set_xlabel('columns from the query')
        axes[0].set_ylabel('rows from the query')
        figure.text(0.02, 0.01, 'Dotted: before training. Colours are heads.', fontsize=SMALL, color='#444444')
        figure.subplots_adjust(
            0.1, 0.5 / figure.get_figheight() + 0.04, 0.98, 1 - 0.3 / figure.get_figheight(), 0.3, 0.35
        )
        return figure


def _draw_gaussians(axes: Axes, encoding: NoPositions, solid: bool) -> None:
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


def _frequency_figure(states: States) -> Figure:
    layers = evenly(len(next(iter(states.values()))))
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(layers))
        lines = -(-len(layers) // columns)
        figure = Figure(figsize=(3.0 * columns + 0.4, 3.0 * lines + 0.5), dpi=DPI)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for place in axes[len(layers) :]:
            place.set_visible(False)
        for place, layer in zip(axes, layers, strict=False):
            for state, each in states.items():
                for head, points in enumerate(np.asarray(each[layer].turns())):
                    colour, solid = COLOURS[head % len(COLOURS)], state != 'before training'
                    face = colour if solid else '#ffffff'
                    place.plot(points[:, 1], points[:, 0], 'o', color=colour, markerfacecolor=face, markersize=4)
            place.set_title(f'layer {layer}' if len(layers) > 1 else 'all layers')
            place.set_xlabel('per column')
        axes[0].set_ylabel('radians per row')
        note = 'Hollow: before training. Colours are heads.' if 'before training' in states else ''
        figure.text(0.02, 0.01, note, fontsize=SMALL, color='#444444')
        figure.subplots_adjust(
            0.12, 0.5 / figure.get_figheight() + 0.05, 0.98, 1 - 0.3 / figure.get_figheight(), 0.2, 0.35
        )
        return figure


def _heat(axes: Axes, values: Float[np.ndarray, 'rows columns'], limits: tuple[float, float]):
    """A map of squares: as shapes where they are few, so that they stay sharp, else as an image."""
    rows, columns = values.shape
    extent = (0, columns, rows, 0)
    low, high = limits
    if values.size <= 100:
        mesh = axes.pcolormesh(values, cmap=DIVERGING, vmin=low, vmax=high)
        axes.set_ylim(rows, 0)
    else:
        mesh = axes.imshow(values, cmap=DIVERGING, vmin=low, vmax=high, extent=extent, interpolation='nearest')
    axes.set_aspect('equal')
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh


def _margins(figure: Figure, left: float = 0.1) -> dict[str, float]:
    width, height = figure.get_size_inches()
    return {
        'left': left / width, 'right': 1 - BAR / width, 'bottom': 0.08 / height, 'top': 1 - 0.3 / height,
        'wspace': 0.08, 'hspace': 0.14,
    }  # fmt: skip


def _colour_bar(figure: Figure, mesh, label: str) -> None:
    width, height = figure.get_size_inches()
    tall = min(2.4, height - 0.5)
    bar = figure.add_axes((1 - (BAR - 0.12) / width, (height - 0.3 - tall) / height, 0.12 / width, tall / height))
    figure.colorbar(mesh, cax=bar).set_label(label)
