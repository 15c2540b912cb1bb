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
