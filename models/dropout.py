"""Dropout of elements, or of all that shares a draw.

flax.nnx.Dropout has a stream of keys for its state. Here a mask follows from the pass's key and its own number alone,
so that part of a batch has the masks that it would have as part of the whole.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def dropout(
    x: Float[Array, '*shape'], rate: float, key: PRNGKeyArray | None, stream: int, shared: Sequence[int] = ()
) -> Float[Array, '*shape']:
    """`x` with every element 0 with probability `rate`, in [0, 1), and the others scaled up to keep the mean.

    Srivastava et al. 2014 (JMLR 15, section 10).

    Args:
      key: the forward pass's, best a hashed one (models.keys); None: `x` as it is, for evaluation.
      stream: which of the forward pass's masks this is; each has its own.
      shared: axes along which one draw serves all elements.
    """
    if key is None or rate == 0:
        return x
    shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)]
    below = min(2**32 - 1, round((1 - rate) * 2**32))
    kept = jax.random.bits(jax.random.fold_in(key, stream), shape, jnp.uint32) < jnp.uint32(below)
    return jnp.where(kept, x / (1 - rate), 0)
