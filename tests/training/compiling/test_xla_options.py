import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from training.compiling import xla_options


@pytest.fixture
def config():
    return base.get_config()


@pytest.fixture
def lowered():
    return jax.jit(lambda x, y: (x @ y, jax.lax.optimization_barrier(x + y))).lower(*[jnp.ones((8, 8))] * 2)


def test_options_follow_the_model(config, monkeypatch):
    monkeypatch.delenv('XLA_FLAGS', raising=False)
    config.model.embed_dim = 64
    assert xla_options.options(config) == {}
    for config.model.positions.name in ('conditional', 'rope_axial', 'rope_mixed'):
        assert xla_options.options(config) == xla_options.KEEP_BARRIERS
    config.model.positions.name, config.model.mixer = 'none', 'depthwise_conv'
    assert xla_options.options(config) == xla_options.KEEP_BARRIERS
    config.model.mixer, config.model.embed_dim = 'attention', 384
    assert xla_options.options(config) == xla_options.SUMS_ALONE
    config.model.remat = True
    assert xla_options.options(config) == xla_options.SUMS_ALONE | xla_options.KEEP_BARRIERS
    config.model.remat, config.model.mixer = False, 'conv'
    assert xla_options.options(config) == xla_options.SUMS_ALONE | xla_options.KEEP_BARRIERS
    monkeypatch.setenv('XLA_FLAGS', f'--{xla_options.YNN}=')  # a user who chose is not overruled
    assert xla_options.options(config) == xla_options.KEEP_BARRIERS


def test_they_are_known_to_this_version_and_leave_results_as_they_are(config, lowered, caplog):
    config.model.mixer = 'conv'
    with caplog.at_level(logging.WARNING):
        program = xla_options.compiled(lowered, config)
    assert not caplog.records
    assert 'opt-barrier' in program.as_text()
    arguments = [np.random.default_rng(seed).normal(size=(8, 8)).astype(np.float32) for seed in range(2)]
    for ours, plain in zip(program(*arguments), lowered.compile()(*arguments), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5)


def test_an_option_that_is_gone_costs_a_warning(config, lowered, monkeypatch, caplog):
    monkeypatch.setattr(xla_options, 'SUMS_ALONE', {'xla_cpu_no_such_option': '1'})
    config.model.embed_dim = 384
    with caplog.at_level(logging.WARNING):
        program = xla_options.compiled(lowered, config)
    assert 'xla_cpu_no_such_option' in caplog.text
    np.testing.assert_array_equal(program(jnp.ones((8, 8)), jnp.ones((8, 8)))[0], np.full((8, 8), 8.0))


def test_determinism_is_promised_on_a_gpu_alone(config, monkeypatch):
    assert xla_options.promises(config) == {}
    config.deterministic = True
    assert xla_options.promises(config) == {}  # a CPU needs none
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setenv('XLA_FLAGS', '--xla_gpu_deterministic_ops=false')
    assert xla_options.promises(config) == xla_options.DETERMINISTIC


@pytest.mark.parametrize('embed_dim', [64, 384])
def test_a_promise_that_cannot_be_kept_is_an_error(config, lowered, monkeypatch, embed_dim):
    """Whatever becomes of the options that are for speed alone."""
    config.model.embed_dim = embed_dim
    monkeypatch.setattr(xla_options, 'promises', lambda config: {'xla_gpu_no_such_option': True})
    with pytest.raises(jax.errors.JaxRuntimeError, match='xla_gpu_no_such_option'):
        xla_options.compiled(lowered, config)


def test_the_promise_is_known_to_this_version(lowered):
    lowered.compile(compiler_options=xla_options.DETERMINISTIC)
