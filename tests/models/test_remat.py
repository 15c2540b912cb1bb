"""model.remat trades time for memory and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.accounting import peak_memory_bytes
from training.compiling.xla_options import KEEP_BARRIERS


@pytest.fixture
def gradients(built):
    """Of the same params, with dropout, and the compiled program that computed them."""
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)

    def of(**fields):
        model, params = built(dropout=0.2, stochastic_depth=0.2, depth=4, **fields)

        def loss(params):
            return jnp.mean(model.apply(params, images, key=jax.random.key(1)).logits ** 2)

        program = jax.jit(jax.grad(loss)).lower(params).compile(compiler_options=KEEP_BARRIERS)
        return program(params), program

    return of


@pytest.mark.parametrize('name', ['learned_1d', 'rope_mixed'])
def test_the_same_gradients_in_less_memory(gradients, name):
    plain, program = gradients(positions__name=name)
    again, smaller = gradients(positions__name=name, remat=True)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), again, plain)
    assert peak_memory_bytes(smaller) < 0.7 * peak_memory_bytes(program)
