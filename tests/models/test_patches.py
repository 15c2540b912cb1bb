import jax.numpy as jnp
import numpy as np
import pytest

from models.patches import grid_coordinates, to_patches


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


@pytest.mark.parametrize('grid', [(6, 8), (2, 2), (5, 3)])
def test_rescaled_coordinates_stay_within_the_trained_image(grid):
    trained = (3, 4)
    rescaled = grid_coordinates(grid, trained, 'rescale')
    assert (rescaled.centres > 0).all()
    assert (rescaled.centres < np.array(trained)).all()
    # The image's centre stays its centre.
    np.testing.assert_allclose(rescaled.centres.mean(axis=0), np.array(trained) / 2, rtol=1e-6)
    np.testing.assert_allclose(rescaled.order.mean(), (12 - 1) / 2, rtol=1e-6)


def test_rescaling_to_the_trained_grid_changes_nothing():
    trained, rescaled = grid_coordinates((3, 4)), grid_coordinates((3, 4), (3, 4), 'rescale')
    np.testing.assert_array_equal(trained.centres, rescaled.centres)
    np.testing.assert_allclose(trained.order, rescaled.order)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="policy='stretch'"):
        grid_coordinates((2, 2), policy='stretch')
