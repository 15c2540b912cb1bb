import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.patches import grid_coordinates, in_raster_order, raster_order, to_patches


def test_patches_are_the_squares_of_the_image_row_by_row():
    image = np.arange(6 * 4 * 3, dtype=np.float32).reshape(1, 6, 4, 3)
    patches = to_patches(jnp.asarray(image), 2)
    assert patches.shape == (1, 6, 12)
    for token, (row, column) in enumerate(np.ndindex(3, 2)):
        square = image[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_array_equal(patches[0, token], square.ravel())


def test_extended_coordinates_contain_the_trained_ones():
    trained, larger = grid_coordinates((3, 4)), grid_coordinates((6, 8), trained=(3, 4))
    inside = {tuple(centre) for centre in larger.centres}
    assert {tuple(centre) for centre in trained.centres} <= inside
    assert larger.centres.max() > trained.centres.max()
    np.testing.assert_array_equal(larger.order, np.arange(48))


@pytest.mark.parametrize(
    ('grid', 'trained'),
    [
        *[((6, 8), (3, 4)), ((2, 2), (3, 4)), ((5, 3), (3, 4))],
        *[((6, 6), (4, 4)), ((2, 2), (4, 4)), ((12, 12), (8, 8)), ((6, 6), (12, 12))],  # rows on borders of rows
    ],
)
def test_rescaled_coordinates_stay_within_the_trained_image(grid, trained):
    rescaled = grid_coordinates(grid, trained, 'rescale')
    assert (rescaled.centres > 0).all()
    assert (rescaled.centres < np.array(trained)).all()
    # The image's centre stays its centre.
    np.testing.assert_allclose(rescaled.centres.mean(axis=0), np.array(trained) / 2, rtol=1e-6)
    np.testing.assert_allclose(rescaled.order.mean(), (np.prod(trained) - 1) / 2, rtol=1e-6)


def test_rescaling_to_the_trained_grid_changes_nothing():
    trained, rescaled = grid_coordinates((3, 4)), grid_coordinates((3, 4), (3, 4), 'rescale')
    np.testing.assert_array_equal(trained.centres, rescaled.centres)
    np.testing.assert_allclose(trained.order, rescaled.order)


@pytest.mark.parametrize(
    ('grid', 'trained'), [((8, 8), (4, 4)), ((4, 16), (4, 8)), ((12, 8), (4, 8)), ((4, 8), (8, 4)), ((5, 7), (3, 4))]
)
def test_the_nearest_trained_place_along_the_sequence_is_the_nearest_in_the_image(grid, trained):
    rescaled = grid_coordinates(grid, trained, 'rescale')
    nearest = np.stack(np.divmod(np.rint(rescaled.order), trained[1]), axis=-1)
    # Two where a centre lies halfway between them.
    np.testing.assert_array_less(np.abs(nearest + 0.5 - rescaled.centres), 0.5 + 1e-5)


def test_a_rescaled_place_is_between_columns_as_its_centre_is():
    rescaled = grid_coordinates((8, 12), (4, 6), 'rescale')
    row = np.arange(8).repeat(12) // 2
    np.testing.assert_allclose(rescaled.order - 6 * row, rescaled.centres[:, 1] - 0.5, atol=1e-6)


@pytest.mark.parametrize(('rows', 'expected'), [(6, [0, 0, 1, 2, 3, 3]), (5, [0, 1, 2, 2, 3]), (1, [2])])
def test_a_rescaled_row_on_a_border_is_in_the_outer_row_and_in_the_very_middle_in_the_lower(rows, expected):
    np.testing.assert_array_equal(grid_coordinates((rows, 1), (4, 1), 'rescale').order, expected)


@pytest.mark.parametrize(('tokens', 'trained'), [(20, 10), (10, 10), (7, 12), (64, 5)])
def test_a_sequence_is_stretched_as_a_whole(tokens, trained):
    rescaled = grid_coordinates((1, tokens), (1, trained), 'rescale')
    expected = (np.arange(tokens) + 0.5) * (trained / tokens) - 0.5
    np.testing.assert_array_equal(rescaled.order, expected.astype(np.float32))


@pytest.mark.parametrize('policy', ['extend', 'rescale'])
def test_tokens_in_any_order_find_their_places_in_the_raster(policy):
    """Also where the rows of a finer grid lie between each other along the trained sequence."""
    plain = grid_coordinates((8, 8), (4, 4), policy)
    assert raster_order(plain) is None
    shuffled = np.random.default_rng(0).permutation(64)
    moved = jax.tree.map(lambda leaf: leaf[shuffled], plain)
    np.testing.assert_array_equal(shuffled[raster_order(moved)], np.arange(64))
    np.testing.assert_array_equal(shuffled[jax.jit(raster_order)(moved)], np.arange(64))
    back = in_raster_order(moved)
    assert raster_order(back) is None
    np.testing.assert_array_equal(back.centres, plain.centres)
    np.testing.assert_array_equal(back.order, plain.order)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="policy='stretch'"):
        grid_coordinates((2, 2), policy='stretch')
