"""Pictures of positional encodings: what they are before training, and what training made of them."""

from collections.abc import Callable

import jax
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from analysis.drawing.maps import evenly
from analysis.heads.attention import encodings
from analysis.heads.trained import Trained
from analysis.page.pictures import Picture
from analysis.page.position_figures import codes_figure, frequencies_figure, gaussians_figure, heads_figure
from analysis.page.position_maps import (
    States,
    by_state,
    head_dim,
    kernel_maps,
    reach,
    rotary_maps,
    score_maps,
    vector_maps,
)
from data.spec import Spec
from models import Params
from models.positions import POSITIONS, AbsolutePositions, NoPositions, Positions
from models.positions.conditional import ConditionalPositions
from models.positions.gaussian import Gaussian
from models.positions.relative import RelativeVectors
from models.positions.rotary import Rotary
from training.step import build_model, run_keys

Drawn = tuple[list[tuple[str, str, Figure]], str]  # pictures by kind, with what each shows; and a note on them


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
    of_attention = (model.num_heads, reach(trained)) if POSITIONS[model.positions.name].in_attention else None
    return model.positions.name, trained.grid, head_dim(trained) * model.num_heads, of_attention


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
        return [], f'This report does not know how to draw {called}.'
    drawn, note = draw(states, trained)
    pictures = [
        Picture(f'{name}_{kind}', f'{title}: {about}', f'{about}, {" and ".join(states)}.', figure)
        for kind, about, figure in drawn
    ]
    return pictures, note


def _drawing(variant: type[Positions]) -> Callable[[States, Trained], Drawn] | None:
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
    note = 'Each small map is for one place: the cosine between its code and the code of every place of the grid.'
    return [('codes', about, codes_figure(states, trained.grid))], note


def _draw_where_heads_look(states: States, trained: Trained) -> Drawn:
    about = 'where each head looks, as a Gaussian around the query'
    note = 'The square is the query. Each ellipse is centred where a head looks, and extends to one standard deviation.'
    return [('gaussians', about, gaussians_figure(states, trained.grid))], note


def _draw_turns(states: States, trained: Trained) -> Drawn:
    frequencies = f'frequencies of {_called(trained)}'
    note = (
        'Each point is a pair of channels: how far it is rotated per row and per column. Each map shows, by offset, '
        'what is left of the product of a query and an equal key: the mean cosine over the pairs.'
    ) + _beyond_window(trained)
    maps = by_state(states, lambda each: rotary_maps(each, trained))
    return [
        ('frequencies', frequencies, frequencies_figure(states)),
        ('turns', f'{frequencies}, and the likeness that is left', heads_figure(maps, (-1.0, 1.0))),
    ], note


def _draw_kernels(states: States, trained: Trained) -> Drawn:
    maps = {state: {'': kernel_maps(each[0])} for state, each in states.items()}
    note = 'The 3 x 3 kernels of the first channels.'
    return [('kernels', 'the convolution that makes the codes', heads_figure(maps, title='channel {}'.format))], note


def _draw_vectors(states: States, trained: Trained) -> Drawn:
    maps = {state: {f'layer {n}': vector_maps(each[n]) for n in evenly(len(each))} for state, each in states.items()}
    note = 'For rows (left) and columns (right): the cosine between the vectors of every two offsets.'
    figure = heads_figure(maps, (-1.0, 1.0), ('rows', 'columns').__getitem__)
    return [('vectors', 'similarity of the vectors of offsets', figure)], note


def _draw_biases(states: States, trained: Trained) -> Drawn:
    about = f'logits that {_called(trained)} adds, by offset and head'
    note = 'Each map has the query in its middle, and shows at each offset what is added to the logit of a key there.'
    note += _beyond_window(trained)
    return [('biases', about, heads_figure(by_state(states, lambda each: score_maps(each, trained))))], note


def _beyond_window(trained: Trained) -> str:
    """What a note on maps by offset adds where attention's window leaves some of them out."""
    whole = reach(trained) == tuple(side - 1 for side in trained.grid)
    return '' if whole else ' Grey: beyond the window, where no head looks.'


def _called(trained: Trained) -> str:
    return trained.config.model.positions.name
