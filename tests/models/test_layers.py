"""The layers with hand-written gradients equal jax's and flax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.layers import Dense, gelu, group_norm, layer_norm
from tests.draws import normal, rngs


@pytest.fixture
def x():
    return 3 * jax.random.normal(jax.random.key(0), (2, 5, 16))


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_gelu_equals_jax_and_its_gradient_is_as_near_to_the_exact_one(x, backend, monkeypatch):
    """What the backward pass is handed depends on the backend."""
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    np.testing.assert_allclose(gelu(x), jax.nn.gelu(x), atol=1e-6)
    gradient = jax.grad(lambda x, function: jnp.sum(function(x)))
    with jax.enable_x64(True):
        exact = gradient(jnp.asarray(x, jnp.float64), jax.nn.gelu)
    ours, theirs = (np.abs(gradient(x, function) - np.asarray(exact)).max() for function in (gelu, jax.nn.gelu))
    assert 0 < ours <= theirs < 1e-5


@pytest.mark.parametrize(('backend', 'is_input'), [('cpu', False), ('gpu', True)])
def test_gelu_keeps_no_array_of_its_own_where_memory_is_what_takes_time(x, backend, is_input, monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    (kept,) = jax.tree.leaves(jax.vjp(gelu, x)[1])
    assert np.array_equal(kept, x) == is_input


def test_layer_norm_equals_flax_and_so_do_its_gradients(x):
    scale, bias = normal(1, (2, 16))
    reference = nnx.LayerNorm(16, epsilon=1e-6, use_fast_variance=False, rngs=rngs())

    def theirs(x, scale, bias):
        return reference(x) * scale + bias

    np.testing.assert_allclose(layer_norm(x, scale, bias), theirs(x, scale, bias), atol=1e-5)
    gradients = [
        jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1, 2))(x, scale, bias) for f in (layer_norm, theirs)
    ]
    jax.tree.map(lambda ours, its: np.testing.assert_allclose(ours, its, atol=2e-5), *gradients)


@pytest.mark.parametrize('groups', [1, 4, 16])
def test_group_norm_equals_flax_and_so_do_its_gradients(groups):
    x = 1 + 3 * normal(0, (2, 5, 4, 16))
    scale, bias = normal(1, (2, 16))
    reference = nnx.GroupNorm(16, num_groups=groups, rngs=rngs())

    def theirs(x, scale, bias):
        return reference(x) * scale + bias

    def ours(x, scale, bias):
        return group_norm(x, scale, bias, groups)

    np.testing.assert_allclose(ours(x, scale, bias), theirs(x, scale, bias), atol=1e-5)
    gradients = [jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), (0, 1, 2))(x, scale, bias) for f in (ours, theirs)]
    jax.tree.map(lambda our, its: np.testing.assert_allclose(our, its, atol=2e-5), *gradients)


def group_norm_of_one_row(x):
    return group_norm(x[:, None], jnp.ones(16), jnp.zeros(16), 4)[:, 0]


@pytest.mark.parametrize('layer', [gelu, lambda x: layer_norm(x, jnp.ones(16), jnp.zeros(16)), group_norm_of_one_row])
def test_bfloat16_stays_bfloat16_and_close(x, layer):
    narrow = layer(x.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(np.float32), layer(x), atol=0.05)
    assert jax.grad(lambda x: jnp.sum(layer(x).astype(jnp.float32)))(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize('level', [1.0, 3.3, 300.1])
def test_group_norm_of_an_image_of_one_colour_is_finite(level):
    """Rounding takes E[x^2] - E[x]^2 below zero there, by more than what is added to the variance."""
    x = jnp.full((1, 5, 5, 16), level)
    total, gradient = jax.value_and_grad(lambda x: jnp.sum(group_norm(x, jnp.ones(16), jnp.zeros(16), 4)))(x)
    assert np.isfinite(total)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize('outputs', [3, 16, 40])
def test_dense_equals_flax_and_so_do_its_gradients(x, outputs):
    layers = Dense(16, outputs, rngs=rngs()), nnx.Linear(16, outputs, rngs=rngs())
    found = []
    for layer in layers:
        layer.bias[...] = jnp.arange(outputs, dtype=jnp.float32)
        graph, state = nnx.split(layer)
        found.append([layer(x)])

        def total(state, x, graph=graph):
            return jnp.sum(jnp.sin(nnx.merge(graph, state)(x)))

        found[-1] += jax.tree.leaves(jax.grad(total, (0, 1))(state, x))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize('layer', [lambda x: layer_norm(x, jnp.ones(16), jnp.zeros(16)), group_norm_of_one_row])
def test_statistics_of_a_norm_are_float32_whatever_the_type(x, layer):
    """Of numbers far from zero a mean in bfloat16 would be off by much of their deviation."""
    x = (30 + x).astype(jnp.bfloat16)
    np.testing.assert_array_equal(layer(x), layer(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_dense_computes_in_its_type(x):
    dense = Dense(16, 3, dtype=jnp.bfloat16, rngs=rngs())
    assert dense(x).dtype == jnp.bfloat16
    assert jax.grad(lambda x: jnp.sum(dense(x).astype(jnp.float32)))(x).dtype == x.dtype
    assert dense.kernel[...].dtype == jnp.float32
