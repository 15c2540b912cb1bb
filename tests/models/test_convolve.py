import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.convolve import convolve
from tests.draws import normal


@pytest.mark.parametrize('sides', [(7, 6), (3, 4), (2, 2), (1, 2), (1, 1)])
@pytest.mark.parametrize(
    ('stride', 'padding', 'groups'),
    [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (1, 'SAME', 2),
        (1, 'SAME', 4),
        (1, 2, 4),
        (2, 'SAME', 4),
        (2, 'SAME', 1),
        (2, 2, 1),
        (2, 0, 1),
    ],
)
@pytest.mark.parametrize('channels', [8, 4])
def test_convolve_is_the_convolution_and_has_its_gradients(stride, padding, groups, channels, sides):
    """Of images smaller than the kernel too, which are padded, and of a kernel for each channel."""
    x = normal(0, (2, *sides, 4))
    kernel = normal(1, (3, 3, 4 // groups, channels))
    strides, pads = (stride, stride), padding if isinstance(padding, str) else ((padding, padding),) * 2
    options = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC'), 'feature_group_count': groups}

    def loss(convolution):
        return lambda x, kernel: jnp.sum(jnp.sin(convolution(x, kernel, strides, pads, **options)))

    ours, reference = (
        jax.value_and_grad(loss(convolution), (0, 1))(x, kernel)
        for convolution in (convolve, jax.lax.conv_general_dilated)
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), ours, reference)


@pytest.mark.parametrize('dilated', ['lhs_dilation', 'rhs_dilation'])
def test_what_it_does_not_compute_is_refused(dilated):
    arguments = normal(0, (2, 5, 5, 4)), normal(1, (3, 3, 4, 8)), (1, 1), 'SAME'
    with pytest.raises(ValueError, match=rf'{dilated}=\(2, 1\) is not computed here'):
        convolve(*arguments, dimension_numbers=('NHWC', 'HWIO', 'NHWC'), **{dilated: (2, 1)})
    one = convolve(*arguments, dimension_numbers=('NHWC', 'HWIO', 'NHWC'), **{dilated: (1, 1)})
    np.testing.assert_array_equal(one, convolve(*arguments, dimension_numbers=('NHWC', 'HWIO', 'NHWC')))


def test_other_layouts_are_refused():
    numbers = ('NCHW', 'OIHW', 'NCHW')
    with pytest.raises(
        ValueError, match=r"dimension_numbers=\('NCHW', 'OIHW', 'NCHW'\) is not computed here; \('NHWC', "
    ):
        convolve(normal(0, (2, 4, 5, 5)), normal(1, (8, 4, 3, 3)), (1, 1), 'SAME', dimension_numbers=numbers)
