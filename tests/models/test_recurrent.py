import jax.numpy as jnp
import numpy as np

from models.recurrent import GRU
from tests.draws import normal, rngs


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gru_equals_its_equations_step_by_step():
    gru = GRU(5, 4, dtype=jnp.float32, rngs=rngs())
    gru.recurrent.bias[...] = normal(1, (12,))
    x = np.asarray(normal(2, (3, 7, 5)), np.float64)
    kernel, bias = (np.asarray(leaf[...], np.float64) for leaf in (gru.inputs.kernel, gru.inputs.bias))
    recurrent, recurrent_bias = (
        np.asarray(leaf[...], np.float64) for leaf in (gru.recurrent.kernel, gru.recurrent.bias)
    )
    h, states = np.zeros((3, 4)), []
    for t in range(7):
        a, b = x[:, t] @ kernel + bias, h @ recurrent + recurrent_bias
        reset, update = sigmoid(a[:, :4] + b[:, :4]), sigmoid(a[:, 4:8] + b[:, 4:8])
        new = np.tanh(a[:, 8:] + reset * b[:, 8:])
        h = (1 - update) * new + update * h
        states.append(h)
    np.testing.assert_allclose(gru(jnp.asarray(x, jnp.float32)), np.stack(states, axis=1), atol=1e-5)


def test_reverse_is_the_walk_over_the_reversed_sequence():
    gru = GRU(5, 4, dtype=jnp.float32, rngs=rngs())
    x = normal(2, (3, 7, 5))
    np.testing.assert_allclose(gru(x, reverse=True), gru(x[:, ::-1])[:, ::-1], atol=1e-6)


def test_recurrent_kernels_start_orthogonal_as_one_matrix():
    kernel = np.asarray(GRU(5, 8, dtype=jnp.float32, rngs=rngs()).recurrent.kernel[...])
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)
