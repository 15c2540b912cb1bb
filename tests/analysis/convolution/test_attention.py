import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.convolution.attention import attend_to_images, attention_from_convolution
from analysis.heads.patterns import as_weights, fixed_pattern, overlap, strongest_offset
from models.attention import MultiHeadAttention, attend
from models.mixers import Convolution
from models.patches import grid_coordinates
from models.positions import NoPositions, Shape
from tests.analysis.convolution.taps import SHARP, draw, nearest, nothing, reference, relative_error
from tests.draws import rngs


@jax.jit
def attended(kernel, bias, images):
    return attend_to_images(attention_from_convolution(kernel, bias, SHARP), images)


@pytest.mark.parametrize('grid', [(5, 7), (7, 7), (1, 4)])
@pytest.mark.parametrize('size', [3, 5])
def test_sharp_attention_is_the_convolution_with_edge_padding(size, grid):
    kernel, bias, images = draw(size, grid)
    ours = attended(kernel, bias, images)
    edge, zero = (reference(kernel, bias, images, outside) for outside in (nearest, nothing))
    assert relative_error(ours, edge) < 1e-5
    # And not the one with zero padding, except where neither reaches over the border.
    assert relative_error(ours, zero) > 0.1
    reach = size // 2
    inside = (slice(None), slice(reach, grid[0] - reach), slice(reach, grid[1] - reach))
    np.testing.assert_allclose(ours[inside], zero[inside], atol=1e-5 * np.abs(zero).max())
    np.testing.assert_allclose(edge[inside], zero[inside])


def test_with_zeros_around_it_is_the_convolution_of_the_models():
    kernel, bias, images = draw(3, (4, 6), inputs=4)

    @jax.jit
    def both(images):
        layer = Convolution(4, 3, depthwise=False, dtype=jnp.float32, rngs=rngs())
        layer.conv.kernel[...], layer.conv.bias[...] = kernel, bias
        positions = NoPositions(Shape(4, 1, (4, 6)), rngs=rngs())
        theirs, _ = layer(images.reshape(2, 24, 4), positions, grid_coordinates((4, 6)))
        ours = attend_to_images(attention_from_convolution(kernel, bias, SHARP), images, zeros=1)
        return ours, theirs.reshape(ours.shape)

    assert relative_error(*both(images)) < 1e-5


def test_fewer_outputs_than_inputs():
    kernel, bias, images = draw(3, (4, 5), inputs=5, outputs=2)
    values = jax.eval_shape(lambda: attention_from_convolution(kernel, bias, SHARP).values)
    assert values.shape == (9, 5, 2)
    assert relative_error(attended(kernel, bias, images), reference(kernel, bias, images, nearest)) < 1e-5


def test_each_head_looks_at_one_offset():
    """The construction's heads, measured by the other analysis."""

    @jax.jit
    def attend_sharply():
        positions = attention_from_convolution(*draw(3, (5, 7))[:2], SHARP).positions
        return attend(None, None, jnp.zeros((9, 1, 35, 1)), positions, grid_coordinates((5, 7)))[1]

    weights = attend_sharply()
    offsets, weight = strongest_offset(weights, (5, 7))
    assert offsets.tolist() == [[row, column] for row in (-1, 0, 1) for column in (-1, 0, 1)]
    np.testing.assert_allclose(weight, 1, atol=1e-6)
    explained = overlap(weights, as_weights(fixed_pattern(weights, (5, 7)), (5, 7)))
    np.testing.assert_allclose(explained, 1, atol=1e-4)


def test_a_whole_attention_layer_is_a_convolution_of_its_heads_rank():
    """With embed_dim / K^2 channels a head, the layer of the models is a convolution whose matrices have that rank."""
    embed_dim, heads, head_dim, grid = 18, 9, 2, (4, 5)
    draws = np.random.default_rng(0)
    narrow, wide = draws.normal(size=(2, heads, embed_dim, head_dim)).astype(np.float32)
    kernel = np.einsum('hid,hod->hio', narrow, wide).reshape(3, 3, embed_dim, embed_dim)
    bias = draws.normal(size=embed_dim).astype(np.float32)
    images = draws.normal(size=(2, *grid, embed_dim)).astype(np.float32)

    @jax.jit
    def attend_in_a_layer(images):
        layer = MultiHeadAttention(embed_dim, heads, 'none', content=False, dtype=jnp.float32, rngs=rngs())
        layer.qkv.kernel[...] = np.moveaxis(narrow, 0, 1).reshape(embed_dim, embed_dim)
        layer.out.kernel[...], layer.out.bias[...] = np.moveaxis(wide, 1, 2).reshape(embed_dim, embed_dim), bias
        positions = attention_from_convolution(kernel, bias, SHARP).positions
        return layer(images.reshape(2, 20, embed_dim), positions, grid_coordinates(grid))[0].reshape(images.shape)

    assert relative_error(attend_in_a_layer(images), reference(kernel, bias, images, nearest)) < 1e-5


def test_an_even_kernel_has_no_centre():
    with pytest.raises(ValueError, match='4 x 4'):
        attention_from_convolution(np.zeros((4, 4, 1, 1), np.float32), np.zeros(1, np.float32), 1.0)
