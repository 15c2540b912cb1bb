"""What is shown of attention is what the model did."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import data
import models
from analysis.heads.attention import attention_parts, batches_of_weights, encodings, has_parts, visible
from analysis.heads.trained import sample
from analysis.page.explorer import lacks_parts
from models.attention import attend
from models.patches import grid_coordinates
from models.positions import POSITIONS, Shape, overrides
from tests.draws import normal, rngs

HEADS, HEAD_DIM, GRID = 2, 20, (4, 5)  # as many channels as tokens
WITH_SCORES = [name for name, kind in POSITIONS.items() if overrides(kind, 'scores')]


@pytest.mark.parametrize('window', [None, 1, 3, 5, 99])
@pytest.mark.parametrize('name', POSITIONS)
def test_captured_weights_are_those_of_the_fast_path(name, window):
    """Values that are one-hot turn what attention computes, in blocks or not, into the weights that it used."""
    positions = POSITIONS[name](Shape(HEADS * HEAD_DIM, HEADS, GRID, window), rngs=rngs())
    coordinates, tokens = grid_coordinates(GRID), GRID[0] * GRID[1]
    q, k = normal(1, (2, HEADS, 3, tokens, HEAD_DIM))
    q, k = positions.rotate(q, k, coordinates)
    one_hot = jnp.broadcast_to(jnp.eye(tokens), (HEADS, 3, tokens, tokens))
    used, captured = jax.jit(lambda q, k: attend(q, k, one_hot, positions, coordinates, window))(q, k)
    np.testing.assert_allclose(captured, used, atol=1e-5)
    np.testing.assert_allclose(np.sum(used, -1), 1, atol=1e-5)


# One of each way to act, alone and in windows, and attention by position alone.
CASES = [
    (name, {'model__window': window}) for name in ('learned_1d', 'relative_bias', 'rope_mixed') for window in (None, 3)
]
CASES += [('conditional', {}), ('gaussian', {'model__positions__content': False})]


@pytest.mark.parametrize(('name', 'fields'), CASES)
def test_capturing_changes_nothing(trained, images, name, fields):
    one = trained(name, **fields)
    model = models.build(one.config.model, one.spec)
    plain = jax.jit(lambda params, images: model.apply(params, images).logits)(one.params, images(one))
    parts = attention_parts(one, images(one))
    np.testing.assert_allclose(parts.probabilities, jax.nn.softmax(plain), atol=1e-5)
    (weights,) = batches_of_weights(one, sample(data.load(one.config.data).test, 3))
    expected = attention_parts(one, sample(data.load(one.config.data).test, 3).images).weights
    np.testing.assert_allclose(weights, expected, atol=1e-5)


@pytest.mark.parametrize('window', [None, 3])
@pytest.mark.parametrize('name', WITH_SCORES)
def test_content_and_position_together_are_the_attention(trained, images, name, window):
    """Logits add, so their softmaxes multiply: the parts' product, normalised, is the whole."""
    one = trained(name, model__window=window)
    parts = attention_parts(one, images(one))
    product = np.asarray(parts.content, np.float64) * np.asarray(parts.position, np.float64)
    np.testing.assert_allclose(product / product.sum(-1, keepdims=True), parts.weights, atol=1e-5)
    for part in (parts.content, parts.position):
        np.testing.assert_allclose(np.sum(part, -1), 1, atol=1e-5)
    # By content alone positions say nothing, and a move of all of them by one patch does not show.
    assert np.abs(np.asarray(parts.content) - np.asarray(parts.weights)).max() > 1e-3


@pytest.mark.parametrize('name', ['none', 'learned_1d', 'rope_axial', 'conditional'])
def test_where_there_are_no_parts_it_says_why(trained, images, name):
    one = trained(name)
    parts = attention_parts(one, images(one))
    assert (parts.content, parts.position) == (None, None)
    assert lacks_parts(one.config.model)


@pytest.mark.parametrize('name', POSITIONS)
def test_parts_are_for_those_with_scores_beside_content(trained, name):
    assert has_parts(trained(name).config.model) == (name in WITH_SCORES)
    assert bool(lacks_parts(trained(name).config.model)) == (name not in WITH_SCORES)
    if POSITIONS[name].scores_content_free:
        assert 'depends on position alone' in lacks_parts(trained(name, model__positions__content=False).config.model)


def test_encodings_are_those_of_the_params(trained):
    one = trained('relative_bias')
    for layer, encoding in enumerate(encodings(one.config.model, one.spec, one.params)):
        np.testing.assert_array_equal(encoding.table[...], one.params['positions'][layer]['table'])
    assert len(encodings(trained('learned_1d').config.model, one.spec, trained('learned_1d').params)) == 1


def test_neither_part_looks_out_of_the_window(trained, images):
    one = trained('relative_bias', model__window=3)
    parts = attention_parts(one, images(one))
    outside = ~visible(one.grid, 3)
    for part in (parts.content, parts.position):
        assert np.asarray(part)[..., outside].max() == 0
