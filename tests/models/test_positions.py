import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.patches import Coordinates, grid_coordinates
from models.positions import INJECTIONS, POSITIONS, Shape
from models.positions.sinusoidal import sinusoid

VARIANTS = sorted(POSITIONS)
ABSOLUTE = [name for name in VARIANTS if name != 'none']
GRID = (4, 4)


def permuted(coordinates, order):
    return Coordinates(coordinates.centres[order], coordinates.order[order], coordinates.grid)


def shuffle_patches(images, order, patch=2):
    """The image whose patches are those of `images` in another order."""
    batch, side = len(images), images.shape[1] // patch
    squares = images.reshape(batch, side, patch, side, patch, 1).transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(batch, side * side, patch, patch, 1)[:, order]
    return squares.reshape(batch, side, side, patch, patch, 1).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


@pytest.mark.parametrize('inject', INJECTIONS)
@pytest.mark.parametrize('name', VARIANTS)
def test_only_none_is_blind_to_the_order_of_tokens(built, images, name, inject):
    model, params = built(positions__name=name, positions__inject=inject)
    order = np.random.default_rng(0).permutation(16)
    image = images[:1]
    before = model.apply(params, image).logits
    after = model.apply(params, shuffle_patches(image, order)).logits
    difference = np.abs(before - after).max()
    assert difference < 1e-5 if name == 'none' else difference > 1e-3


@pytest.mark.parametrize('name', VARIANTS)
def test_permuting_tokens_and_coordinates_together_changes_nothing(built, images, name):
    model, params = built(positions__name=name)
    order = np.random.default_rng(0).permutation(16)
    moved = model.apply(params, shuffle_patches(images, order), coordinates=permuted(grid_coordinates(GRID), order))
    np.testing.assert_allclose(moved.logits, model.apply(params, images).logits, atol=1e-5)


@pytest.mark.parametrize('policy', ['extend', 'rescale'])
@pytest.mark.parametrize('shape', [(16, 16), (12, 8), (4, 4)])
@pytest.mark.parametrize('name', VARIANTS)
def test_runs_on_other_grids(built, name, shape, policy):
    model, params = built(positions__name=name)
    grid = (shape[0] // 2, shape[1] // 2)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 1), dtype=np.uint8)
    coordinates = grid_coordinates(grid, GRID, policy)
    logits = model.apply(params, images, coordinates=coordinates).logits
    assert np.isfinite(logits).all()
    if policy == 'extend':
        np.testing.assert_array_equal(logits, model.apply(params, images).logits)


@pytest.mark.parametrize('name', ABSOLUTE)
def test_codes_of_different_places_differ(name):
    positions = POSITIONS[name](Shape(32, 4, GRID), rngs=nnx.Rngs(0))
    codes = np.asarray(positions.codes(grid_coordinates(GRID)))
    assert codes.shape == (16, 32)
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    assert distances[~np.eye(16, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize('name', ABSOLUTE)
def test_extending_the_range_keeps_the_codes_of_the_trained_places(name):
    """The corner of a larger image has the codes that it had alone, except where the raster order itself moves."""
    positions = POSITIONS[name](Shape(32, 4, GRID), rngs=nnx.Rngs(0))
    trained = grid_coordinates(GRID)
    # The trained tokens, said to come from a grid twice as high: the sequence goes on after them.
    higher = grid_coordinates((8, 4), GRID)
    np.testing.assert_allclose(positions.codes(higher)[:16], positions.codes(trained), atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('none', 0),
        ('sinusoidal_1d', 0),
        ('sinusoidal_2d', 0),
        ('learned_1d', 16 * 32),
        # start and drive, the GRU's two kernels and biases, the projection.
        ('rnn', 2 * 32 + 2 * (32 * 96 + 96) + 32 * 32 + 32),
    ],
)
def test_parameter_count_is_the_documented_one(name, expected):
    positions = POSITIONS[name](Shape(32, 4, GRID), rngs=nnx.Rngs(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(positions, nnx.Param))) == expected


@pytest.mark.parametrize('name', ['learned_1d', 'rnn'])
def test_gradients_reach_every_positional_parameter(built, images, name):
    model, params = built(positions__name=name, positions__inject='every_layer')
    gradients = jax.grad(lambda params: jnp.sum(jnp.sin(model.apply(params, images).logits)))(params)
    assert len(gradients['positions']) == 2
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients['positions']):
        assert np.abs(leaf).max() > 0, path


def test_sinusoid_is_vaswani_s_equation():
    dim = 8
    codes = np.asarray(sinusoid(jnp.arange(50.0), dim))
    for place in (0, 1, 7, 49):
        for i in range(dim // 2):
            angle = place / 10_000 ** (2 * i / dim)
            np.testing.assert_allclose(codes[place, i], np.sin(angle), atol=1e-5)
            np.testing.assert_allclose(codes[place, dim // 2 + i], np.cos(angle), atol=1e-5)


def test_sinusoid_shifts_by_a_rotation():
    """PE(p + k) is a linear function of PE(p), the same for every p: the reason that Vaswani et al. give for it."""
    codes = np.asarray(sinusoid(jnp.arange(40.0), 16), np.float64)
    shift, *_ = np.linalg.lstsq(codes[:-3], codes[3:], rcond=None)
    np.testing.assert_allclose(codes[:-3] @ shift, codes[3:], atol=1e-4)


def test_sinusoidal_2d_tells_rows_from_columns():
    positions = POSITIONS['sinusoidal_2d'](Shape(32, 4, GRID), rngs=nnx.Rngs(0))
    codes = np.asarray(positions.codes(grid_coordinates(GRID))).reshape(4, 4, 32)
    assert np.ptp(codes[:, :, :16], axis=1).max() == 0  # the first half says the row alone
    assert np.ptp(codes[:, :, 16:], axis=0).max() == 0  # the second the column alone


def test_learned_table_is_interpolated_between_places_and_repeated_beyond():
    positions = POSITIONS['learned_1d'](Shape(8, 2, GRID), rngs=nnx.Rngs(0))
    table = np.asarray(positions.table[...])
    np.testing.assert_allclose(positions.codes(grid_coordinates(GRID)), table.reshape(16, 8), atol=1e-6)
    asked = Coordinates(np.array([[1.0, 0.5], [2.0, 2.0], [9.5, 0.5]], np.float32), np.zeros(3, np.float32), GRID)
    between, centre, beyond = np.asarray(positions.codes(asked))
    np.testing.assert_allclose(between, (table[0, 0] + table[1, 0]) / 2, atol=1e-6)
    np.testing.assert_allclose(centre, table[1:3, 1:3].mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(beyond, table[3, 0], atol=1e-6)


def test_injection_every_layer_has_its_own_codes_and_shared_has_one(built, images):
    sizes = {}
    for inject in INJECTIONS:
        _, params = built(positions__name='learned_1d', positions__inject=inject)
        sizes[inject] = len(params['positions'])
    assert sizes == {'stem': 1, 'every_layer': 2, 'every_layer_shared': 1}
    stem, stem_params = built(positions__inject='stem')
    shared, _ = built(positions__inject='every_layer_shared')
    once, twice = stem.apply(stem_params, images).logits, shared.apply(stem_params, images).logits
    assert np.abs(once - twice).max() > 1e-4


def test_coordinates_must_be_those_of_the_tokens(built, images):
    model, params = built()
    for wrong in (grid_coordinates((1, 1)), grid_coordinates((2, 4)), grid_coordinates((5, 5))):
        with pytest.raises(ValueError, match='for 16 tokens'):
            model.apply(params, images, coordinates=wrong)
