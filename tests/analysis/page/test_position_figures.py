import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.transforms import Affine2D

from analysis.heads.attention import encodings
from analysis.page import position_figures

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
