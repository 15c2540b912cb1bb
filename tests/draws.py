"""What tests draw, without compiling a program for every shape."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.keys import hashed


def normal(seed, shape, dtype=jnp.float32):
    """Standard normal numbers, by NumPy: to compile JAX's own of another shape takes half a second."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def rngs():
    """What layers draw their parameters from in models.build too."""
    return nnx.Rngs(params=hashed(jax.random.key(0)))
