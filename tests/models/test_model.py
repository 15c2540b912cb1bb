import jax.numpy as jnp
import numpy as np
import pytest

from models.model import standardise


@pytest.mark.parametrize('kind', [np.uint8, np.float32])
def test_intensities_become_numbers_from_minus_one_to_one(kind):
    images = np.array([0, 51, 255], kind).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(standardise(images, jnp.float32).ravel(), [-1, -0.6, 1], atol=1e-6)
    assert standardise(images, jnp.bfloat16).dtype == jnp.bfloat16
