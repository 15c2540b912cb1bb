import itertools

import numpy as np
import pytest
from flax import nnx
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.transforms import Affine2D

from analysis.drawing import maps
from analysis.heads.attention import encodings
from analysis.page import position_figures, position_maps, positions
from models.positions import Shape
from models.positions.relative import RelativeVectors

SCALE = 100  # pixels a patch


def test_an_ellipse_is_one_standard_deviation_around_the_centre(trained):
    one = trained('gaussian')
    encoding = encodings(one.config.model, one.spec, one.params)[0]
    axes = Figure().add_subplot()
    position_figures.draw_gaussians(axes, encoding, solid=True)
    ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 2
    for ellipse, centre, matrix in zip(ellipses, encoding.centres[...], encoding.spreads[...], strict=True):
        # As a polygon, drawn large: among a curve's own vertices are control points, which lie off it.
        (edge,) = ellipse.get_path().to_polygons(ellipse.get_patch_transform() + Affine2D().scale(SCALE))
        assert len(edge) > 20
        offsets = edge[:, ::-1] / SCALE - np.asarray(centre)  # rows, columns
        np.testing.assert_allclose(np.linalg.norm(offsets @ np.asarray(matrix).T, axis=-1), 1, atol=0.01)


def test_dotted_ellipses_are_those_from_before_training(trained):
    states = {}
    for seed, state in enumerate(('before training', 'after training')):
        one = trained('gaussian', seed)
        states[state] = encodings(one.config.model, one.spec, one.params)
    for layer, axes in enumerate(position_figures.gaussians_figure(states, one.grid).axes):
        ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
        for state, styles in (('before training', (':', 'dotted')), ('after training', ('-', 'solid'))):
            drawn = [ellipse for ellipse in ellipses if ellipse.get_linestyle() in styles]
            centres = np.array([patch.get_center()[::-1] for patch in drawn])
            np.testing.assert_allclose(centres, states[state][layer].centres[...], rtol=1e-6)


def test_turns_per_row_go_up_and_those_per_column_across(trained):
    one = trained('rope_mixed')
    states = {'after training': encodings(one.config.model, one.spec, one.params)}
    for layer, axes in enumerate(position_figures.frequencies_figure(states).axes):
        points = [line.get_xydata()[:, ::-1] for line in axes.lines]
        np.testing.assert_allclose(points, states['after training'][layer].turns(), rtol=1e-6)


@pytest.mark.parametrize(
    ('name', 'fields', 'titles'),
    [
        ('relative_bias', {}, ['head 0', 'head 1']),
        ('alibi_2d', {'model__embed_dim': 64, 'model__num_heads': 16}, [f'head {n}' for n in maps.evenly(16, 8)]),
        ('rope_mixed', {}, ['head 0', 'head 1']),
        ('conditional', {}, [f'channel {n}' for n in range(8)]),
        ('relative_vectors', {}, ['rows', 'columns']),
    ],
)
def test_each_column_of_maps_is_named_once_and_above_it(trained, name, fields, titles):
    drawn, _ = positions.position_pictures(trained(name, **fields), 'p', 't')
    figure = drawn[-1].figure
    named = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in named] == titles
    figure.draw(renderer := FigureCanvasAgg(figure).get_renderer())
    boxes = [axes.title.get_window_extent(renderer) for axes in named]
    for axes, box in zip(named, boxes, strict=True):
        assert axes.get_window_extent(renderer).y1 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other.get_window_extent(renderer)) for other in figure.axes)
    for one, other in itertools.pairwise(boxes):
        assert one.x1 < other.x0


def test_maps_of_vectors_on_a_sequence_are_each_as_large_as_its_offsets():
    encoding = RelativeVectors(Shape(16, 2, (1, 8)), rngs=nnx.Rngs(0))
    figure = position_figures.heads_figure({'fixed': {'': position_maps.vector_maps(encoding)}}, (-1.0, 1.0))
    assert [axes.get_xlim() for axes in figure.axes[:2]] == [(0, 1), (0, 15)]
