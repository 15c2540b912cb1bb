"""What these keys draw has its distribution, and shows no trace of the places, seeds and steps that it follows from."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.keys import from_row, hash_of, hashed

COUNT = 100_000
KIND = jax.random.key_impl(hashed(jax.random.key(0)))


def of_seed(seed):
    return hashed(jax.random.key(seed))


def unsuspicious(pvalue):
    return pvalue > 1e-3


def test_words_are_uniform():
    """In their high bits and in their low ones, and over a run's keys as over a key's places."""
    keys = jax.random.split(of_seed(0), COUNT)
    for words in (jax.random.bits(of_seed(1), (COUNT,)), jax.vmap(jax.random.bits)(keys)):
        for bits in (words >> 22, words & 1023):
            counts = np.bincount(np.asarray(bits), minlength=1024)
            assert unsuspicious(scipy.stats.chisquare(counts).pvalue)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('draw', ['normal', 'uniform'])
def test_numbers_have_their_distribution(draw, seed):
    numbers = getattr(jax.random, draw)(of_seed(seed), (COUNT,))
    assert unsuspicious(scipy.stats.kstest(numbers, {'normal': 'norm', 'uniform': 'uniform'}[draw]).pvalue)


def test_small_words_are_uniform_too():
    assert jax.random.bits(of_seed(0), (3, 4), jnp.uint8).dtype == jnp.uint8
    counts = np.bincount(np.asarray(jax.random.bits(of_seed(0), (COUNT,), jnp.uint8)), minlength=256)
    assert unsuspicious(scipy.stats.chisquare(counts).pvalue)


def keys_of_runs():
    """Of seeds that follow each other, of their steps, and of what a step divides its key into."""
    for seed in range(3):
        key = of_seed(seed)
        yield key
        yield from jax.random.split(key, 3)
        for step in range(4):
            yield jax.random.fold_in(key, step)
            yield from jax.random.split(jax.random.fold_in(key, step))


def test_keys_of_one_another_are_independent():
    draws = [np.asarray(jax.random.normal(key, (4096,))) for key in keys_of_runs()]
    found = [one @ other / 64 for one, other in itertools.combinations(draws, 2)]
    assert unsuspicious(scipy.stats.kstest(found, 'norm').pvalue)


def test_no_two_keys_are_equal():
    keys = [tuple(np.asarray(jax.random.key_data(key))) for key in keys_of_runs()]
    assert len(set(keys)) == len(keys)
    assert len(np.unique(jax.random.key_data(jax.random.split(of_seed(0), COUNT)), axis=0)) == COUNT


def test_streams_of_a_key_have_no_word_in_common():
    """By chance 2 of COUNT would meet in 2^32; of a stream that is used twice all would."""
    key = of_seed(0)
    children = jax.random.split(key, COUNT), jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.arange(COUNT))
    streams = [np.asarray(words) for keys in children for words in jax.random.key_data(keys)[:, :2].T]
    for one, other in itertools.combinations([*streams, np.asarray(jax.random.bits(key, (COUNT,)))], 2):
        assert len(np.intersect1d(one, other)) < 20
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / COUNT**0.5


def test_places_that_stand_near_are_independent():
    numbers = np.asarray(jax.random.normal(of_seed(0), (300, COUNT // 100)))
    found = [
        np.sum(one[:-lag] * one[lag:]) / (len(one) - lag) ** 0.5 for one in numbers for lag in (1, 2, 3, 4, 8, 16, 64)
    ]
    assert unsuspicious(scipy.stats.kstest(found, 'norm').pvalue)


def both_words_of_a_key(make):
    """Of a hashed key, from its parent's words and one more."""

    def made(words):
        key = jax.random.wrap_key_data(jnp.stack([*words[:2], jnp.uint32(0)]), impl=KIND)
        return jax.random.key_data(make(key, words[2]))[:2]

    return made


@pytest.mark.parametrize(
    ('word', 'made'),
    [(word, lambda words: hash_of(words[:3], words[2], words[3])) for word in range(4)]
    + [(word, both_words_of_a_key(jax.random.fold_in)) for word in range(3)]
    + [(word, both_words_of_a_key(lambda key, _: jax.random.split(key)[1])) for word in range(2)],
)
def test_every_bit_follows_from_every_word(word, made):
    """Turning one bit of what is hashed turns every bit of the hash in half of the cases; of a key's two words too."""
    words = jax.random.bits(jax.random.key(2), (20000, 4), jnp.uint32)
    hashes = jax.jit(jax.vmap(made))
    for bit in range(32):
        turned = words.at[:, word].set(words[:, word] ^ jnp.uint32(1 << bit))
        changed = np.asarray(hashes(words) ^ hashes(turned))
        shares = [np.mean(changed >> place & 1) for place in range(32)]
        np.testing.assert_allclose(shares, 0.5, atol=5 * 0.5 / 20000**0.5)


def test_a_member_of_a_population_draws_what_it_draws_alone():
    keys = jnp.stack([of_seed(seed) for seed in range(3)])

    def draw(key):
        one, other = jax.random.split(jax.random.fold_in(key, 5))
        return jax.random.normal(one, (7, 3)), jax.random.bits(other, (5,), jnp.uint16)

    together = jax.jit(jax.vmap(draw))(keys)
    for index, key in enumerate(keys):
        for one, alone in zip(together, draw(key), strict=True):
            np.testing.assert_array_equal(one[index], alone)


@pytest.mark.parametrize('shape', [(12,), (12, 5), (12, 3, 1)])
@pytest.mark.parametrize('key', [of_seed(0), jax.random.fold_in(of_seed(0), 7), jax.random.split(of_seed(0))[1]])
def test_what_is_drawn_from_a_row_on_is_the_rest_of_all(key, shape):
    for draw in (jax.random.normal, functools.partial(jax.random.bits, dtype=jnp.uint16)):
        whole = draw(key, shape)
        for row in (0, 1, 7):
            np.testing.assert_array_equal(draw(from_row(key, row), (12 - row, *shape[1:])), whole[row:])
        np.testing.assert_array_equal(draw(from_row(from_row(key, 2), 3), (7, *shape[1:])), whole[5:])


def test_keys_that_follow_begin_at_that_row_too():
    key = of_seed(0)
    for made in (lambda key: jax.random.fold_in(key, 3), lambda key: jax.random.split(key)[1]):
        whole, rest = (jax.random.bits(made(one), (6, 4)) for one in (key, from_row(key, 2)))
        np.testing.assert_array_equal(rest[:4], whole[2:])


def test_a_seed_has_the_key_of_the_seed_of_jax():
    np.testing.assert_array_equal(*map(jax.random.key_data, (jax.random.key(3, impl=KIND), of_seed(3))))


def test_wide_words_have_the_plain_ones_above_and_others_below():
    with jax.enable_x64(True):
        wide = np.asarray(jax.random.bits(of_seed(0), (COUNT,), jnp.uint64))
    np.testing.assert_array_equal(wide >> 32, jax.random.bits(of_seed(0), (COUNT,)))
    assert unsuspicious(scipy.stats.chisquare(np.bincount(wide >> 22 & 1023, minlength=1024)).pvalue)
    assert len(np.unique(wide)) == COUNT


@pytest.mark.parametrize('readers', [1, 4])
def test_what_leads_to_a_key_is_computed_once_whoever_reads_it(readers):
    """XLA would repeat it in every reader; and LLVM's vectoriser took for ever over what is long (models.keys)."""

    def multiplications(derivations):
        def draw(key):
            for step in range(derivations):
                key = jax.random.fold_in(key, step)
            # Sorted, so that XLA cannot make one loop of them.
            return [jnp.sort(jax.random.normal(key, (500 + reader,))) for reader in range(readers)]

        return jax.jit(draw).lower(of_seed(0)).compile().as_text().count(' multiply(')

    one, several = multiplications(1), multiplications(4)
    assert several - one == pytest.approx(3 * 10, abs=6)  # of five words mixed, by two products each
