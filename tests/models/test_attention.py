import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.attention import MultiHeadAttention, dot_product_attention
from models.patches import grid_coordinates
from models.positions import NoPositions, Shape
from tests.draws import normal, rngs

TOKENS, DIM = 9, 16


def reference(x, qkv, qkv_bias, out, out_bias, num_heads, scaled=True):
    """Multi-head attention in float64, one head and one image at a time: Vaswani et al. 2017, section 3.2.2."""
    results = []
    dim = x.shape[-1]
    head_dim = dim // num_heads
    for tokens in x.astype(np.float64):
        queries, keys, values = np.split(tokens @ qkv + qkv_bias, 3, axis=-1)
        heads = []
        for head in range(num_heads):
            channels = slice(head * head_dim, (head + 1) * head_dim)
            logits = queries[:, channels] @ keys[:, channels].T
            if scaled:
                logits = logits / np.sqrt(head_dim)
            weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            heads.append(weights @ values[:, channels])
        results.append(np.concatenate(heads, axis=-1) @ out + out_bias)
    return np.stack(results)


def make(num_heads, attention_scale='sqrt_head_dim'):
    attention = MultiHeadAttention(DIM, num_heads, attention_scale, dtype=jnp.float32, rngs=rngs())
    # Biases start at zero, where a mistake in them would not show.
    attention.qkv.bias[...] = normal(1, attention.qkv.bias.shape)
    attention.out.bias[...] = normal(2, attention.out.bias.shape)
    return attention


def call(attention, x):
    positions = NoPositions(Shape(DIM, attention.num_heads, (3, 3)), rngs=rngs())
    return attention(x, positions, grid_coordinates((3, 3)))


@pytest.fixture
def x():
    return normal(3, (2, TOKENS, DIM))


@pytest.mark.parametrize('num_heads', [1, 2, 4, 8])
@pytest.mark.parametrize('attention_scale', ['sqrt_head_dim', 'none'])
def test_equals_a_float64_reference(x, num_heads, attention_scale):
    attention = make(num_heads, attention_scale)
    weights = [np.asarray(leaf[...], np.float64) for leaf in
               (attention.qkv.kernel, attention.qkv.bias, attention.out.kernel, attention.out.bias)]  # fmt: skip
    expected = reference(np.asarray(x), *weights, num_heads, scaled=attention_scale == 'sqrt_head_dim')
    np.testing.assert_allclose(call(attention, x)[0], expected, atol=1e-5)


@pytest.mark.parametrize('num_heads', [1, 2, 4, 8])
def test_inside_equals_jax_dot_product_attention(num_heads):
    q, k, v = normal(0, (3, num_heads, 2, TOKENS, 8))
    bias = normal(1, (num_heads, 1, TOKENS, TOKENS))
    ours, _ = dot_product_attention(0.3 * q, k, v, scores=bias)
    theirs = jax.nn.dot_product_attention(
        *(jnp.transpose(part, (1, 2, 0, 3)) for part in (q, k, v)), bias=bias.swapaxes(0, 1), scale=0.3
    )
    np.testing.assert_allclose(ours, jnp.transpose(theirs, (2, 0, 1, 3)), atol=1e-5)


def test_weights_are_those_that_mixed_the_values(x):
    q, k, v = normal(0, (3, 2, 3, TOKENS, 8))
    mixed, weights = dot_product_attention(0.3 * q, k, v)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(mixed, weights @ v, atol=1e-6)


@pytest.mark.parametrize('scores', [np.zeros((2, 3, TOKENS, TOKENS), np.float32), 0.0])
def test_by_position_alone_there_is_one_score_for_all_images(scores):
    """Those of the other images would be left out, and nobody told."""
    v = normal(0, (2, 3, TOKENS, 8))
    with pytest.raises(ValueError, match=re.escape(f'scores={np.shape(scores)}: ')):
        dot_product_attention(None, None, v, scores=scores)
    mixed, weights = dot_product_attention(None, None, v, scores=jnp.zeros((2, 1, TOKENS, TOKENS)))
    assert weights.shape == (2, 1, TOKENS, TOKENS)
    np.testing.assert_allclose(mixed, jnp.broadcast_to(v.mean(2, keepdims=True), v.shape), atol=1e-6)


def test_softmax_saturates_without_the_scale():
    """With unit-variance queries and keys, unscaled logits have the variance head_dim: one key takes nearly all."""
    q, k, v = normal(0, (3, 1, 8, 32, 64))
    largest = [dot_product_attention(scale * q, k, v)[1].max(-1).mean() for scale in (64**-0.5, 1.0)]
    assert largest[0] < 0.3 < 0.8 < largest[1]


def test_softmax_is_float32_in_bfloat16_compute():
    """Keys that differ by less than bfloat16 resolves at their size still get different weights."""
    q = jnp.full((1, 1, 1, 8), 8, jnp.bfloat16)
    k = jnp.ones((1, 1, 2, 8), jnp.bfloat16).at[0, 0, 1, 0].add(0.03125)
    _, weights = dot_product_attention(q, k, k)
    assert weights[0, 0, 0, 1] > weights[0, 0, 0, 0]
