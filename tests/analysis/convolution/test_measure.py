import numpy as np
import pytest

from analysis.convolution.attention import attend_to_images, attention_from_convolution
from analysis.convolution.measure import convolution_errors, convolve
from tests.analysis.convolution.taps import SHARP, draw, nearest, nothing, reference, relative_error


@pytest.mark.parametrize(('padding', 'outside'), [('edge', nearest), ('constant', nothing)])
def test_the_convolution_itself_equals_a_float64_reference(padding, outside):
    kernel, bias, images = draw(3, (4, 5))
    assert relative_error(convolve(kernel, bias, images, padding), reference(kernel, bias, images, outside)) < 1e-6


def test_the_error_falls_as_heads_get_sharper_and_ends_at_rounding():
    errors = convolution_errors(*draw(3, (5, 7)), sharpnesses=(2.0, 4.0, 8.0, 16.0, 32.0, 1e3, 1e6))
    for column in ('edge_padding', 'interior', 'zeros_around'):
        falling = errors[column].to_numpy()
        assert (np.diff(falling[:5]) < 0).all()
        assert falling[0] > 0.1
        assert (falling[4:] < 1e-5).all()
        # At each border and in the interior, the next nearest token is one squared patch further away.
        assert falling[3] / falling[2] == pytest.approx(np.exp(-4), rel=0.5)
    assert (errors['zero_padding'] > 0.1).all()


def test_a_grid_without_an_interior_says_so():
    errors = convolution_errors(*draw(5, (1, 4)), sharpnesses=(SHARP,))
    assert np.isnan(errors['interior'][0])
    assert errors['edge_padding'][0] < 1e-5


def test_errors_are_shares_of_the_convolution_s_largest_output():
    kernel, bias, images = draw(3, (5, 7))
    (row,) = convolution_errors(kernel, bias, images, sharpnesses=(1.0,)).itertuples()
    ours = attend_to_images(attention_from_convolution(kernel, bias, 1.0), images)
    for error, outside in ((row.edge_padding, nearest), (row.zero_padding, nothing)):
        theirs = reference(kernel, bias, images, outside)
        assert error == pytest.approx(np.abs(ours - theirs).max() / np.abs(theirs).max(), rel=1e-4)
