"""Dropout whose masks cost next to nothing: a hash of where an element stands, rather than a stream of random numbers.

Threefry, which jax.random draws with, is made to be unpredictable. On the CPU it took as long as the rest of a small
model's training step, and as long to compile (benchmarks/NOTES.md). A mask need only be independent of all that a
model can learn, so it is a hash that passes the tests for that, fused into what reads it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

Noise = UInt32[Array, '2']  # what all masks of a forward pass follow from


def noise_of(key: PRNGKeyArray) -> Noise:
    """The noise of the forward pass that has this key."""
    return jax.random.bits(key, (2,), jnp.uint32)


def dropout(
    x: Float[Array, '*shape'], rate: float, noise: Noise | None, stream: int, shared: Sequence[int] = ()
) -> Float[Array, '*shape']:
    """`x` with every element 0 with probability `rate`, in [0, 1), and the others scaled up to keep the mean.

    Srivastava et al. 2014 (JMLR 15, section 10).

    Args:
      noise: None: `x` as it is, for evaluation.
      stream: which of a forward pass's masks this is; each has its own.
      shared: axes along which one draw serves all elements.
    """
    if noise is None or rate == 0:
        return x
    shape = [1 if axis in shared else size for axis, size in enumerate(x.shape)]
    places = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    below = min(2**32 - 1, round((1 - rate) * 2**32))
    kept = hashed(noise, jnp.uint32(stream), places) < jnp.uint32(below)
    return jnp.where(kept, x / (1 - rate), 0)


def hashed(noise: Noise, stream: UInt32[Array, ''], places: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A word for each place that shows no trace of what it follows from.

    A permutation of the words between two secret ones (Even & Mansour 1997, J. Cryptology 10), taken twice.
    """
    first = mixed(stream ^ noise[0])
    second = mixed(first ^ noise[1])
    return mixed(mixed(places ^ first) ^ second)


def mixed(word: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A permutation of the words, in which every bit depends on every bit: MurmurHash3's fmix32 (Appleby 2011)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
