"""Reading a learned table between its entries."""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def interpolate(
    table: Float[Array, 'rows columns channels'], places: Float[Array | np.ndarray, '*shape 2']
) -> Float[Array, '*shape channels']:
    """The bilinear interpolation of a table at `places`, counted from its first entry; beyond the edge, the edge.

    Places that are known before the program runs cost one look-up each where they all fall on entries; places that the
    program works out cost four, as the offsets between more than 512 tokens do (windows.offsets).
    """
    numbers = np if isinstance(places, np.ndarray) else jnp
    last = np.array(table.shape[:2]) - 1
    places = numbers.clip(places, 0, last)
    before = numbers.floor(places).astype(np.int32)
    share = places - before
    total = jnp.zeros((*places.shape[:-1], table.shape[-1]), table.dtype)
    for corner in itertools.product((0, 1), repeat=2):
        weight = numbers.prod(numbers.where(np.array(corner) == 1, share, 1 - share), axis=-1)
        if isinstance(weight, np.ndarray) and not weight.any():
            continue
        entry = numbers.minimum(before + np.array(corner), last)
        total += weight[..., None].astype(table.dtype) * table[entry[..., 0], entry[..., 1]]
    return total
