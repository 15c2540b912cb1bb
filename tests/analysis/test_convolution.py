import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from analysis import convolution
from analysis.convolution import attend_to_images, attention_from_convolution, convolution_errors, convolve
from analysis.heads.patterns import as_weights, fixed_pattern, overlap, strongest_offset
from configs import base
from configs.errors import ConfigError
from experiment import folder
from experiment.validate import validate
from models.attention import MultiHeadAttention, attend
from models.mixers import Convolution
from models.patches import grid_coordinates
from models.positions import NoPositions, Shape
from tests.draws import rngs
from training import checkpoints
from training.progress import Progress
from training.step import state_shapes

SHARP = 64.0


@pytest.fixture
def config():
    """An experiment of seconds."""
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.train_examples = 8, 64
    config.model.patch_size, config.model.embed_dim, config.model.depth = 2, 16, 1
    return config


def checkpointed(config, workdir):
    """A run's folder with one checkpoint, of random params: nothing here looks at what they learnt."""
    folder.open_run(workdir, config)
    model = models.build(config.model, validate(config))
    draws = np.random.default_rng(0)
    like = state_shapes(config, model)
    state = jax.tree.map(lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), like)
    state = state._replace(step=np.int32(1))
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        progress = Progress(compile_seconds=0.0).validated(1, {'accuracy': 0.5, 'loss': 1.0})
        saver.save(1, jax.device_put(state), progress)


@jax.jit
def attended(kernel, bias, images):
    return attend_to_images(attention_from_convolution(kernel, bias, SHARP), images)


def draw(size, grid, inputs=3, outputs=4):
    draws = np.random.default_rng(0)
    kernel = draws.normal(size=(size, size, inputs, outputs)).astype(np.float32)
    bias = draws.normal(size=outputs).astype(np.float32)
    return kernel, bias, draws.normal(size=(2, *grid, inputs)).astype(np.float32)


def reference(kernel, bias, image, outside):
    """A convolution in float64, tap by tap; `outside(place, size)` says what it reads there, None for zero."""
    rows, columns = image.shape[1:3]
    result = np.zeros((*image.shape[:3], kernel.shape[-1])) + bias
    reach = len(kernel) // 2
    for row, column in np.ndindex(rows, columns):
        for i, j in np.ndindex(kernel.shape[:2]):
            place = outside(row + i - reach, rows), outside(column + j - reach, columns)
            if None not in place:
                result[:, row, column] += image[:, place[0], place[1]].astype(np.float64) @ kernel[i, j]
    return result


def nearest(place, size):
    return min(max(place, 0), size - 1)


def nothing(place, size):
    return place if 0 <= place < size else None


def relative_error(ours, theirs):
    return np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs))


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


@pytest.mark.parametrize(('padding', 'outside'), [('edge', nearest), ('constant', nothing)])
def test_the_convolution_itself_equals_a_float64_reference(padding, outside):
    kernel, bias, images = draw(3, (4, 5))
    assert relative_error(convolve(kernel, bias, images, padding), reference(kernel, bias, images, outside)) < 1e-6


def test_fewer_outputs_than_inputs():
    kernel, bias, images = draw(3, (4, 5), inputs=5, outputs=2)
    values = jax.eval_shape(lambda: attention_from_convolution(kernel, bias, SHARP).values)
    assert values.shape == (9, 5, 2)
    assert relative_error(attended(kernel, bias, images), reference(kernel, bias, images, nearest)) < 1e-5


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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((None, 4, None), r'--kernel_size=4 has no centre; 3 or 5 would do'),
        ((None, None, '7'), r'--grid=7 is no grid'),
        ((None, None, '0x7'), r'--grid=0x7 is no grid'),
        ((None, None, '999x999'), r'--grid=999x999 with the 9 heads of --kernel_size=3 is too large'),
    ],
)
def test_bad_flags_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        convolution.report(*arguments)


def columns(text):
    rows = [line.split() for line in text.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    return np.array([[float(cell) for cell in row if cell != '-'] for row in rows if len(row) == 5])


@pytest.mark.parametrize('mixer', ['conv', 'depthwise_conv'])
def test_a_run_s_convolution(config, tmp_path, capsys, mixer):
    config.model.mixer = mixer
    checkpointed(config, tmp_path)
    convolution.report(str(tmp_path), None, None)
    out = capsys.readouterr().out
    assert f'the first of {tmp_path}' in out
    assert 'on 4 x 4 tokens' in out
    table = columns(out)
    assert table[-1, 1] < 1e-5 < 1e-2 < table[0, 1]
    kernel, _, grid = convolution.first_convolution(tmp_path)
    assert (kernel.shape, grid) == ((3, 3, 16, 16), (4, 4))
    off_diagonal = kernel[:, :, ~np.eye(16, dtype=bool)]
    assert (off_diagonal == 0).all() == (mixer == 'depthwise_conv')
    with pytest.raises(ConfigError, match=r'--kernel_size=5: the run has 3'):
        convolution.report(str(tmp_path), 5, None)


def test_a_run_without_a_convolution(config, tmp_path):
    folder.open_run(tmp_path, config)
    with pytest.raises(ConfigError, match=r'model\.mixer=attention has no convolution'):
        convolution.report(str(tmp_path), None, None)
