import jax
import numpy as np
import pytest

from configs import base
from data.augment import augment
from models.keys import hashed


@pytest.fixture
def config():
    return base.get_config().data.augment


@pytest.fixture
def images():
    return jax.device_put(np.random.default_rng(0).integers(1, 256, (64, 5, 6, 2), dtype=np.uint8))


def crops(image, pad):
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    return [padded[row : row + 5, column : column + 6] for row in range(2 * pad + 1) for column in range(2 * pad + 1)]


def test_off_is_the_identity(config, images):
    np.testing.assert_array_equal(augment(hashed(jax.random.key(0)), images, config), images)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('crop', [0, 1, 2])
def test_every_result_is_a_crop_of_its_padded_image(config, images, crop, flip):
    config.crop, config.flip = crop, flip
    results = np.asarray(augment(hashed(jax.random.key(0)), images, config))
    assert results.dtype == np.uint8
    for image, result in zip(np.asarray(images), results, strict=True):
        possible = crops(image, crop)
        possible += [crop[:, ::-1] for crop in possible] if flip else []
        assert any(np.array_equal(result, one) for one in possible)


def test_every_offset_and_both_sides_come_up(config):
    config.crop, config.flip = 1, True
    image = np.arange(1, 31, dtype=np.uint8).reshape(1, 5, 6, 1)
    results = np.asarray(augment(hashed(jax.random.key(0)), jax.device_put(image.repeat(500, axis=0)), config))
    assert len({result.tobytes() for result in results}) == 9 * 2


def test_images_of_a_batch_are_drawn_independently_and_reproducibly(config):
    config.crop = 2
    image = np.random.default_rng(0).integers(1, 256, (1, 5, 6, 2), dtype=np.uint8).repeat(32, axis=0)
    one, again, other = (
        np.asarray(augment(hashed(jax.random.key(seed)), jax.device_put(image), config)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len({result.tobytes() for result in one}) > 5
