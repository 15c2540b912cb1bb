"""Random crops and flips, on the device and inside the compiled step."""

import dm_pix
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt8
from ml_collections import ConfigDict


def augment(
    key: PRNGKeyArray, images: UInt8[Array, 'batch height width channels'], config: ConfigDict
) -> UInt8[Array, 'batch height width channels']:
    """Crops each image at random from its zero-padded self, and mirrors half of them, as `config.data.augment` says.

    He et al. 2016 (arXiv:1512.03385), section 4.2: 4 pixels of padding for 32 x 32 images.
    """
    if not (config.crop or config.flip):
        return images
    pad = config.crop
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def one(key, image):
        crop_key, flip_key = jax.random.split(key)
        if config.crop:
            image = dm_pix.random_crop(crop_key, image, images.shape[1:])
        if config.flip:
            image = dm_pix.random_flip_left_right(flip_key, image)
        return image

    return jax.vmap(one)(jax.random.split(key, len(images)), padded)
