import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.products import join_heads, mixture, products, softmax, split_heads
from tests.draws import normal


@pytest.mark.parametrize('parts', [1, 3])
def test_heads_are_equal_slices_of_the_channels(parts):
    """In PyTorch's order, [q of every head, k of every head, v of every head]; and the gradient is that of slices."""
    x = normal(0, (2, 5, parts * 4 * 3))

    def slices(x):
        by_part = np.split(np.arange(x.shape[-1]), parts)
        return tuple(jnp.stack([x[..., head] for head in np.split(channels, 4)]) for channels in by_part)

    results, expected = split_heads(x, 4, 3), slices(x)
    assert len(results) == parts
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(join_heads(results), x)
    gradients = [
        jax.grad(lambda x, f=f: sum(jnp.sum(jnp.sin((2 + place) * part)) for place, part in enumerate(f(x))))(x)
        for f in (lambda x: split_heads(x, 4, 3), slices)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_the_gradient_of_softmax_is_float32_of_the_weights_as_they_were_kept():
    logits, direction = normal(0, (5, 40)), normal(1, (5, 40), jnp.bfloat16)
    kept, backward = jax.vjp(lambda logits: softmax(logits, jnp.bfloat16), logits)
    weights, gradient = (np.asarray(array, np.float64) for array in (kept, direction))
    expected = weights * (gradient - np.sum(weights * gradient, axis=-1, keepdims=True))
    np.testing.assert_allclose(backward(direction)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('lead', [(2, 3), (2, 3, 4)], ids=['heads batch', 'heads batch blocks'])
def test_the_products_have_the_gradients_of_plain_ones(lead):
    # Half as large, what cos gets is of order one: of 26, as it was, the last bit alone is 2e-6.
    q, k, v = (normal(index, (*lead, count, 8)) / 2 for index, count in enumerate((5, 7, 7)))

    def loss(first, second):
        return lambda q, k, v: jnp.sum(jnp.cos(second(first(q, k), v)))

    plain = loss(lambda q, k: q @ jnp.swapaxes(k, -1, -2), lambda weights, v: weights @ v)
    ours, reference = (
        jax.value_and_grad(function, (0, 1, 2))(q, k, v) for function in (loss(products, mixture), plain)
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), ours, reference)


def test_the_products_of_bfloat16_are_float32_and_their_gradients_bfloat16():
    q, k = (normal(index, (2, 3, 5, 8), jnp.bfloat16) for index in range(2))
    logits, gradients = jax.value_and_grad(lambda q, k: jnp.sum(products(q, k)), (0, 1))(q, k)
    assert logits.dtype == jnp.float32
    assert [gradient.dtype for gradient in gradients] == [jnp.bfloat16] * 2
