import jax
import pytest

import data
import models
from models import accounting, fused
from tests.experiments import small
from training.programs import compile_programs


@pytest.fixture
def config():
    return small()


@pytest.mark.parametrize(('mixer', 'backend'), [('attention', 'cpu'), ('gru', 'cpu'), ('attention', 'gpu')])
def test_flops_are_of_a_step_however_many_a_dispatch_takes(config, mixer, backend, monkeypatch):
    """In the loop of either kind of backend (training.step), which JAX writes down differently."""
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    config.model.mixer = mixer
    config.train.clip_norm *= 3 if backend == 'gpu' else 1  # programs of this process are kept by their config
    flops = set()
    for config.train.steps_per_dispatch in (1, 2, 5):
        programs = compile_programs(config, data.load(config.data), 24)
        assert programs.dispatch == config.train.steps_per_dispatch
        flops.add(programs.costs.train_step_flops)
    assert len(flops) == 1


def test_flops_are_counted_where_a_kernel_hides_them(config, monkeypatch):
    """A GPU's kernel, stood in for by the same attention with an operation that the count refuses."""
    dataset, real = data.load(config.data), fused.fused_attention
    open_to_all = compile_programs(config, dataset, 24)
    monkeypatch.setattr(accounting, 'OPAQUE', (*accounting.OPAQUE, 'lgamma'))
    monkeypatch.setattr(models, 'with_kernel', lambda config, *_: config)
    monkeypatch.setattr(fused, 'fused_attention', lambda q, k, v: real(q, k, v, 'xla') + jax.lax.lgamma(v))
    config.model.attention_kernel = 'cudnn'
    hidden = compile_programs(config, dataset, 24)
    assert hidden.costs.forward_flops == open_to_all.costs.forward_flops
    assert hidden.costs.train_step_flops == open_to_all.costs.train_step_flops
