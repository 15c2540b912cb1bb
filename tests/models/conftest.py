import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict

import models
from configs import base
from data.spec import Spec

SPEC = Spec('small', (8, 8, 1), 10, tuple('0123456789'), flip=False)


@pytest.fixture
def spec():
    return SPEC


@pytest.fixture
def config():
    """A small model of the default experiment, on digits' shape."""
    config = base.get_config()
    config.model.patch_size = 2
    config.model.embed_dim = 16
    config.model.depth = 2
    config.model.num_heads = 2
    return config.model


@pytest.fixture
def built(config, spec):
    """build(**fields) -> model and params, with fields of config.model overridden."""

    def build(**fields):
        config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in fields.items()})
        model, params = _built(FrozenConfigDict(config), spec)
        return model, jax.tree.map(lambda leaf: leaf, params)  # dicts of the test's own

    return build


@functools.lru_cache(maxsize=64)
def _built(config, spec):
    """Many tests ask for the same model, and tracing it takes longer than what most of them do with it."""
    model = models.build(ConfigDict(config), spec)
    return model, model.init(jax.random.key(0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
