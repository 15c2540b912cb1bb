"""Keys for jax.random whose numbers cost next to nothing: each number is a hash of where it stands.

Threefry, which jax.random draws with by itself, is made to be unpredictable. On the CPU its twenty rounds took as long
as the rest of a small model's training step, and most of the time to compile the draw of its parameters
(benchmarks/NOTES.md). What is random here need only be independent of all that a model can learn, so it is a hash that
passes the tests for that, fused into what reads it.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl
from jaxtyping import Array, PRNGKeyArray, Shaped, UInt32

Words = UInt32[Array, '2']  # what a key is made of


def hashed(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key of that kind which follows from `key`, of any kind. To be split and drawn with by jax.random, as any other.

    Where programs draw, not where runs begin: what derives a key is repeated in whatever reads numbers of it, back to
    the last key of another kind.
    """
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl=_HASHED)


def hash_of(words: Words, stream: int | UInt32[Array, ''], places: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A word for each place that shows no trace of what it follows from.

    A permutation of the words between two secret ones (Even & Mansour 1997, J. Cryptology 10), taken twice.
    """
    first = mixed(jnp.uint32(stream) ^ words[0])
    second = mixed(first ^ words[1])
    return mixed(mixed(places ^ first) ^ second)


def mixed(word: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A permutation of the words, in which every bit depends on every bit: MurmurHash3's fmix32 (Appleby 2011)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


DRAWN, SPLIT, FOLDED = range(3)  # streams of a key: its numbers, and the keys that it is split or folded into


def _seeded(seed: Shaped[Array, '']) -> Words:
    return jax.random.key_data(hashed(jax.random.key(seed, impl='threefry2x32')))


def _split(words: Words, shape: tuple[int, ...]) -> UInt32[Array, '*shape 2']:
    return _keys(words, SPLIT, _places(shape))


def _folded(words: Words, data: UInt32[Array, '']) -> Words:
    return _keys(words, FOLDED, jnp.asarray(data, jnp.uint32))


def _keys(words, stream, places):
    first = hash_of(words, stream, places)
    return jnp.stack([first, mixed(first ^ words[1])], axis=-1)


def _bits(words: Words, width: int, shape: tuple[int, ...]) -> Shaped[Array, '*shape']:
    if width > 32:
        raise ValueError(f'{width} random bits at a time: 32 at most')
    word = hash_of(words, DRAWN, _places(shape))
    return (word >> (32 - width)).astype(jnp.dtype(f'uint{width}'))


def _places(shape: tuple[int, ...]) -> UInt32[Array, '*shape']:
    return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


_HASHED = define_prng_impl(
    key_shape=(2,), seed=_seeded, split=_split, random_bits=_bits, fold_in=_folded, name='hashed', tag='hash'
)
