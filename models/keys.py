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

Words = UInt32[Array, '3']  # what a key is made of: two secret words, and the row at which its draws begin


def hashed(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key of this kind that follows from `key`, one of JAX's own. To be split and drawn with by jax.random."""
    return _key(*jax.random.bits(key, (2,), jnp.uint32), jnp.uint32(0))


def from_row(key: PRNGKeyArray, row: int | Shaped[Array, '']) -> PRNGKeyArray:
    """The key whose draws are those of `key`, one of this kind, without their first `row` rows (of the leading axis).

    So part of a batch, from that row on, draws what it would as part of the whole. Keys that follow from this one, by
    jax.random.fold_in or split, leave out as many.
    """
    first, second, begin = jax.random.key_data(key)
    return _key(first, second, begin + jnp.asarray(row, jnp.uint32))


def _key(*words):
    return jax.random.wrap_key_data(jnp.stack(words), impl=_HASHED)


def hash_of(words: Words, stream: int | UInt32[Array, ''], places: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A word for each place that shows no trace of what it follows from.

    Two rounds of a public permutation, each after a secret word is added: the cipher of Even & Mansour (1997,
    J. Cryptology 10) without its last addition.
    """
    first, second = _secrets(words, stream)
    return mixed(mixed(places ^ first) ^ second)


def _secrets(words, stream):
    first = mixed(jnp.uint32(stream) ^ words[0])
    return first, mixed(first ^ words[1])


def mixed(word: UInt32[Array, '...']) -> UInt32[Array, '...']:
    """A permutation of the words, in which every bit depends on every bit: MurmurHash3's fmix32 (Appleby 2011)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


# Streams of a key: its numbers, their lower halves where those have 64 bits, and the keys it is split or folded into.
DRAWN, LOWER, SPLIT, FOLDED = range(4)


def _seeded(seed: Shaped[Array, '']) -> Words:
    return jax.random.key_data(hashed(jax.random.key(seed, impl='threefry2x32')))


def _split(words: Words, shape: tuple[int, ...]) -> UInt32[Array, '*shape 3']:
    return _keys(words, SPLIT, _places(shape))


def _folded(words: Words, data: UInt32[Array, '']) -> Words:
    return _keys(words, FOLDED, jnp.asarray(data, jnp.uint32))


def _keys(words, stream, places):
    word = hash_of(words, stream, places)
    keys = jnp.stack([word, mixed(word ^ _secrets(words, stream)[0]), jnp.broadcast_to(words[2], word.shape)], axis=-1)
    return jax.lax.platform_dependent(keys, cpu=_written_down, default=lambda keys: keys)


def _written_down(words: UInt32[Array, '*shape 3']) -> UInt32[Array, '*shape 3']:
    """The same words, computed once: sorted by their places, where they are already.

    XLA's CPU backend repeats in whatever reads a number all that leads to it, except through what it cannot fuse, and
    takes barriers away before it fuses. A hash reads each of its words twice, so that LLVM's vectoriser, as jaxlib 0.12
    has it, which follows every path to a number, took 2^n steps for n of them in a row: for ever.
    """
    places = jax.lax.broadcasted_iota(jnp.uint32, words.shape, words.ndim - 1)
    return jax.lax.sort((places, words), num_keys=1)[1]


def _bits(words: Words, width: int, shape: tuple[int, ...]) -> Shaped[Array, '*shape']:
    places = _places(shape) + words[2] * jnp.uint32(math.prod(shape[1:]))
    word = hash_of(words, DRAWN, places)
    if width == 64:
        return word.astype(jnp.uint64) << 32 | hash_of(words, LOWER, places).astype(jnp.uint64)
    return (word >> (32 - width)).astype(jnp.dtype(f'uint{width}'))


def _places(shape: tuple[int, ...]) -> UInt32[Array, '*shape']:
    return jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)


_HASHED = define_prng_impl(
    key_shape=(3,), seed=_seeded, split=_split, random_bits=_bits, fold_in=_folded, name='hashed', tag='hash'
)
