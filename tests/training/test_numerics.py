import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.convolve import convolve
from training.numerics import _run, first_bad_operation


def test_the_first_of_several_is_named_with_its_line():
    def function(x):
        y = jnp.sin(x)
        y = jnp.log(y - 2.0)  # the one
        return jnp.sqrt(y) / 0.0

    found = first_bad_operation(function, jnp.ones(3))
    assert found.startswith('log')
    assert 'test_numerics.py:' in found


def test_it_is_found_in_gradients_loops_and_programs_within_programs():
    def loss(x):
        return jax.lax.scan(lambda carry, row: (carry + jnp.sqrt(row), carry), jnp.float32(0), x)[0]

    x = jnp.array([4.0, 1.0, 0.0])
    assert np.isfinite(loss(x))
    assert first_bad_operation(loss, x) is None
    assert first_bad_operation(jax.jit(jax.grad(loss)), x) is not None
    assert 'exp' in first_bad_operation(jax.checkpoint(lambda x: jnp.exp(x * 100)), x)
    assert 'exp' in first_bad_operation(jax.vmap(jax.jit(lambda x: jnp.exp(x * 100))), x)


@pytest.mark.parametrize(('channels', 'groups', 'module'), [(8, 8, 'depthwise'), (48, 1, 'winograd')])
def test_it_is_found_inside_what_is_chosen_by_the_backend(channels, groups, module):
    def convolved(x, kernel):
        numbers = ('NHWC', 'HWIO', 'NHWC')
        return convolve(x, kernel, (1, 1), 'SAME', dimension_numbers=numbers, feature_group_count=groups)

    x, kernel = jnp.full((64, 4, 4, channels), 1e38), jnp.ones((3, 3, channels // groups, channels))
    found = first_bad_operation(convolved, x, kernel)
    assert not found.startswith('cond')
    assert f'models/{module}.py' in found
    assert first_bad_operation(convolved, jnp.ones_like(x), kernel) is None


@pytest.mark.parametrize('index', [0, 1])
def test_of_a_condition_the_branch_that_is_taken_is_looked_into(index):
    branches = [lambda x: jnp.log(x - 1), lambda x: jnp.exp(x * 100)]
    found = first_bad_operation(lambda index, x: jax.lax.switch(index, branches, x), jnp.int32(index), jnp.ones(3))
    assert found.startswith(['log', 'exp'][index])


def test_masks_of_infinity_are_no_find():
    def masked(logits):
        return jax.nn.softmax(jnp.where(jnp.array([True, False, True]), logits, -jnp.inf))

    assert first_bad_operation(masked, jnp.ones(3)) is None
    assert first_bad_operation(jax.grad(lambda x: masked(x)[0]), jnp.ones(3)) is None


def test_a_loop_returns_what_it_would():
    def rows(x):
        return jax.lax.scan(lambda carry, row: (carry + row, carry * row), jnp.zeros(2), x, reverse=True)

    x = jnp.arange(6.0).reshape(3, 2)
    program = jax.make_jaxpr(rows)(x)
    for one, other in zip(_run(program.jaxpr, program.consts, [x]), jax.tree.leaves(rows(x)), strict=True):
        np.testing.assert_array_equal(one, other)
