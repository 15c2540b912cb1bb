"""What docs/extending.md promises: its mixer is whole, and learns."""

import re

import jax
import numpy as np
import optax
import pytest

import models
from configs import base
from data.spec import Spec
from experiment.checking.validate import validate
from experiment.environment import ROOT
from models import mixers

PAGE = (ROOT / 'docs' / 'extending.md').read_text()


@pytest.fixture
def mean(monkeypatch):
    """The page's mixer, on the registry as the page says."""
    (source,) = re.findall(r'```python\n(.*?)```', PAGE, flags=re.DOTALL)
    name, made = re.search(r"`'(\w+)': (Mixer\(.*\)),`", PAGE, flags=re.DOTALL).groups()
    namespace = {'__name__': 'models.mean', 'Mixer': mixers.Mixer}
    exec(source, namespace)
    monkeypatch.setitem(mixers.MIXERS, name, eval(made, namespace))
    return name


def test_the_mixer_works_as_it_stands(mean):
    config = base.get_config()
    config.model.update_from_flattened_dict({'mixer': mean, 'patch_size': 2, 'embed_dim': 16, 'depth': 2})
    config.model.positions.name = 'learned_1d'
    config.model.match = 'params'
    validate(config)
    model = models.build(config.model, Spec('any', (8, 8, 1), 4, tuple('0123'), flip=False))
    params = model.init(jax.random.key(0))
    draws = np.random.default_rng(0)
    images, labels = draws.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8), draws.integers(0, 4, 8)

    @jax.jit
    @jax.value_and_grad
    def loss_of(params):
        logits = model.apply(params, images).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    first, gradients = loss_of(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    optimiser = optax.adam(1e-2)
    state = optimiser.init(params)
    for _ in range(60):
        updates, state = optimiser.update(gradients, state)
        params = optax.apply_updates(params, updates)
        last, gradients = loss_of(params)
    assert last < first / 3
