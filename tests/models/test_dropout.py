"""Masks have the rate asked for, and show no trace of the places, layers, steps and seeds that they follow from."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models import backbone, resnet
from models.dropout import dropout
from models.keys import hashed
from tests.draws import normal

SHAPE = 64, 16, 48  # images, tokens, channels


def key(seed=0, step=0):
    return hashed(jax.random.fold_in(jax.random.key(seed), step))


def mask(rate=0.5, seed=0, step=0, stream=0, shape=SHAPE):
    return np.asarray(dropout(jnp.ones(shape), rate, key(seed, step), stream) != 0)


@pytest.mark.parametrize('rate', [0.003, 0.1, 0.5, 0.9])
def test_the_share_that_is_dropped(rate):
    dropped = [np.sum(~mask(rate, step=step)) for step in range(40)]
    size = np.prod(SHAPE)
    deviations = (np.array(dropped) - rate * size) / (size * rate * (1 - rate)) ** 0.5
    assert scipy.stats.kstest(deviations, 'norm').pvalue > 1e-3


def test_what_stays_keeps_the_mean():
    x = normal(1, SHAPE)
    dropped = dropout(x, 0.3, key(), 0)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], x[kept] / 0.7, rtol=1e-6)
    assert dropped.dtype == x.dtype


@pytest.mark.parametrize('axes', [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_no_image_token_or_channel_is_spared(axes):
    """Counts over any axes scatter as a binomial's."""
    rate = 0.2
    counts = sum(mask(rate, step=step).sum(axes) for step in range(20)).ravel()
    trials = 20 * np.prod([SHAPE[axis] for axis in axes])
    spread = np.sum((counts - trials * (1 - rate)) ** 2) / (trials * rate * (1 - rate))
    assert 1e-3 < scipy.stats.chi2.cdf(spread, len(counts)) < 1 - 1e-3


def correlation(one, other):
    """In standard deviations of what independent ones have."""
    one, other = one.ravel(), other.ravel()
    return (np.mean(one == other) - 0.5) * 2 * len(one) ** 0.5


@pytest.mark.parametrize('axis', range(3))
def test_neighbours_are_independent(axis):
    masks = [np.moveaxis(mask(step=step), axis, 0) for step in range(20)]
    lags = (1, 2, 3, 4, 8, 15)
    found = [correlation(one[lag:], one[:-lag]) for one in masks for lag in lags]
    assert scipy.stats.kstest(found, 'norm').pvalue > 1e-3


def test_streams_steps_and_seeds_are_independent():
    masks = [mask(seed=seed, step=step, stream=stream) for seed in range(3) for step in range(4) for stream in range(6)]
    found = [correlation(one, other) for one, other in itertools.combinations(masks, 2)]
    assert scipy.stats.kstest(found, 'norm').pvalue > 1e-3


def test_a_shared_draw():
    dropped = np.asarray(dropout(jnp.ones(SHAPE), 0.5, key(), 0, shared=(1, 2)))
    assert np.all((dropped == 0).all((1, 2)) | (dropped == 2).all((1, 2)))
    assert 10 < np.sum(dropped[:, 0, 0] == 0) < 54


def test_a_rate_too_small_to_be_drawn_drops_nothing():
    x = jnp.ones(SHAPE)
    np.testing.assert_array_equal(dropout(x, 1e-12, key(), 0), x)


def test_nothing_is_dropped_at_evaluation_or_at_rate_0():
    x = jnp.ones(SHAPE)
    assert dropout(x, 0.5, None, 0) is x
    assert dropout(x, 0.0, key(), 0) is x


def test_a_member_of_a_population_has_its_own_masks():
    keys = jnp.stack([hashed(jax.random.key(seed)) for seed in range(3)])
    together = jax.vmap(lambda key: dropout(jnp.ones(SHAPE), 0.5, key, 1))(keys)
    for one, key in zip(together, keys, strict=True):
        np.testing.assert_array_equal(one, dropout(jnp.ones(SHAPE), 0.5, key, 1))


def test_the_gradient_passes_where_the_element_did():
    x = normal(3, SHAPE)
    gradient = jax.grad(lambda x: jnp.sum(dropout(x, 0.25, key(), 0)))(x)
    np.testing.assert_allclose(gradient, dropout(jnp.ones(SHAPE), 0.25, key(), 0), rtol=1e-6)


@pytest.mark.parametrize(
    ('module', 'fields', 'blocks'), [(backbone, {'depth': 5}, 5), (resnet, {'name': 'resnet', 'resnet_width': 4}, 8)]
)
def test_every_place_of_a_model_has_masks_of_its_own(built, images, monkeypatch, module, fields, blocks):
    """Two that share a stream would drop the same elements. Of whole branches the rates rise evenly, from none."""
    drawn = []
    monkeypatch.setattr(
        module, 'dropout', lambda x, rate, key, stream, shared=(): drawn.append((stream, rate, shared)) or x
    )
    model, params = built(dropout=0.1, stochastic_depth=0.4, **fields)
    jax.eval_shape(lambda: model.apply(params, images, key=jax.random.key(0)))
    assert len({stream for stream, _, _ in drawn}) == len(drawn) > blocks
    rates = np.array([rate for _, rate, shared in drawn if shared]).reshape(blocks, -1)
    np.testing.assert_allclose(rates, np.linspace(0, 0.4, blocks)[:, None].repeat(rates.shape[1], axis=1))


@pytest.mark.parametrize(
    ('module', 'fields', 'places'), [(backbone, {'depth': 5}, 1 + 2 * 5), (resnet, {'name': 'resnet'}, 1)]
)
def test_elements_are_dropped_of_the_tokens_and_of_both_branches_of_a_block(
    built, images, monkeypatch, module, fields, places
):
    """As they enter the first block; of a ResNet, of what its head reads alone."""
    rates = []
    monkeypatch.setattr(
        module, 'dropout', lambda x, rate, key, stream, shared=(): rates.append(None if shared else rate) or x
    )
    model, params = built(dropout=0.1, stochastic_depth=0.4, resnet_width=4, **fields)
    jax.eval_shape(lambda: model.apply(params, images, key=jax.random.key(0)))
    assert [rate for rate in rates if rate is not None] == [0.1] * places
