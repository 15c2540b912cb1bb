"""The layers with hand-written gradients equal jax's and flax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.layers import Dense, gelu, layer_norm


@pytest.fixture
def x():
    return 3 * jax.random.normal(jax.random.key(0), (2, 5, 16))


def test_gelu_equals_jax_and_so_does_its_gradient(x):
    np.testing.assert_allclose(gelu(x), jax.nn.gelu(x), atol=1e-6)
    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(x) for f in (gelu, jax.nn.gelu))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_layer_norm_equals_flax_and_so_do_its_gradients(x):
    scale, bias = jax.random.normal(jax.random.key(1), (2, 16))
    reference = nnx.LayerNorm(16, epsilon=1e-6, use_fast_variance=False, rngs=nnx.Rngs(0))

    def theirs(x, scale, bias):
        return reference(x) * scale + bias

    np.testing.assert_allclose(layer_norm(x, scale, bias), theirs(x, scale, bias), atol=1e-5)
    gradients = [
        jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1, 2))(x, scale, bias) for f in (layer_norm, theirs)
    ]
    jax.tree.map(lambda ours, its: np.testing.assert_allclose(ours, its, atol=2e-5), *gradients)


@pytest.mark.parametrize('layer', [gelu, lambda x: layer_norm(x, jnp.ones(16), jnp.zeros(16))])
def test_bfloat16_stays_bfloat16_and_close(x, layer):
    narrow = layer(x.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(np.float32), layer(x), atol=0.05)
    assert jax.grad(lambda x: jnp.sum(layer(x).astype(jnp.float32)))(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_dense_is_a_linear_map_of_the_last_axis(x):
    dense = Dense(16, 3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(dense(x), x @ dense.kernel[...] + dense.bias[...], atol=1e-5)
