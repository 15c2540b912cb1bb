import jax
import jax.numpy as jnp
import numpy as np

from models import depthwise
from models.convolve import convolve
from tests.draws import normal

OPTIONS = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC'), 'feature_group_count': 4}


def test_sums_are_float32_whatever_the_type():
    """Of 49 taps and of 64 pixels, bfloat16 sums would be off by several of their last bits."""
    x, kernel = normal(0, (1, 8, 8, 4)).astype(jnp.bfloat16), normal(1, (7, 7, 1, 4)).astype(jnp.bfloat16)
    pads = [(3, 3), (3, 3)]
    image = depthwise.depthwise(x, kernel, pads)
    weights = depthwise.to_kernel(x, x, (7, 7), pads)
    for ours, exact in (
        (image, depthwise.depthwise(x.astype(jnp.float32), kernel.astype(jnp.float32), pads)),
        (weights, depthwise.to_kernel(x.astype(jnp.float32), x.astype(jnp.float32), (7, 7), pads)),
    ):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours, exact.astype(jnp.bfloat16))


def test_the_program_for_a_cpu_alone_has_it():
    """Elsewhere it is a convolution, and FLOPs are counted as its."""
    step = jax.grad(lambda x, kernel: jnp.sum(convolve(x, kernel, (1, 1), 'SAME', **OPTIONS) ** 2), (0, 1))
    traced = jax.jit(step).trace(normal(0, (2, 5, 5, 4)), normal(1, (3, 3, 1, 4)))
    assert 'stablehlo.convolution' not in traced.lower(lowering_platforms=('cpu',)).as_text()
    assert traced.lower(lowering_platforms=('cuda',)).as_text().count('stablehlo.convolution') == 3
