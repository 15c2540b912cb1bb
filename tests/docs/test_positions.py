"""What docs/positions.md promises: its example is whole, and its table is the registry's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from analysis.heads.attention import attention_parts
from analysis.heads.trained import Trained
from analysis.page.positions import position_pictures
from configs import base
from data.spec import Spec
from experiment.checking.validate import validate
from experiment.environment import ROOT
from models.patches import Coordinates, grid_coordinates
from models.positions import POSITIONS

PAGE = (ROOT / 'docs' / 'positions.md').read_text()


@pytest.fixture
def distance(monkeypatch):
    """The page's example, on the registry as the page says."""
    (source,) = re.findall(r'```python\n(.*?)```', PAGE, flags=re.DOTALL)
    (name, made) = re.search(r"`'(\w+)': (\w+),`", PAGE).groups()
    namespace = {'__name__': 'models.positions.distance'}
    exec(source, namespace)
    monkeypatch.setitem(POSITIONS, name, namespace[made])
    return name


@pytest.mark.parametrize('window', [None, 3])
def test_the_shortest_encoding_works_as_it_stands(distance, window):
    config = base.get_config().model
    config.update_from_flattened_dict({'patch_size': 2, 'embed_dim': 16, 'depth': 2, 'window': window})
    config.positions.name = distance
    model = models.build(config, Spec('any', (16, 16, 1), 10, tuple('0123456789'), flip=False))
    params = model.init(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    logits = model.apply(params, images).logits
    there = grid_coordinates((8, 8))
    moved = there.replace(centres=there.centres + np.float32([2, -3]), order=there.order)
    np.testing.assert_allclose(model.apply(params, images, coordinates=moved).logits, logits, atol=1e-5)
    order = np.random.default_rng(0).permutation(64)
    shuffled = Coordinates(there.centres[order], there.order[order], there.grid)
    assert np.abs(model.apply(params, images, coordinates=shuffled).logits - logits).max() > 1e-3


def test_the_shortest_encoding_can_be_looked_at(distance):
    """In the report: where heads look by the position alone, and what is added to their logits, head by head."""
    config = base.get_config()
    config.update_from_flattened_dict({
        'data.name': 'synthetic', 'data.synthetic.image_size': 12, 'model.patch_size': 3, 'model.embed_dim': 16,
        'model.depth': 2, 'model.num_heads': 2, 'model.positions.name': distance,
    })  # fmt: skip
    spec = validate(config)
    params = models.build(config.model, spec).init(jax.random.key(0))
    one = Trained(config, spec, params, 1, True)
    parts = attention_parts(one, np.zeros((3, *spec.image_shape), np.uint8))
    assert parts.weights.shape == (2, 2, 3, 16, 16)
    assert parts.position.shape == (2, 2, 1, 16, 16)
    drawn, _ = position_pictures(one, 'positions_1', 'an arm')
    assert [picture.name for picture in drawn] == ['positions_1_biases']


@pytest.mark.parametrize('axes', [(0,), (0, 1, 2)])
def test_scores_of_other_axes_are_refused(distance, monkeypatch, axes):
    """By name, rather than broadcast to something else."""
    scores = POSITIONS[distance].scores
    monkeypatch.setattr(POSITIONS[distance], 'scores', lambda *args: jnp.expand_dims(scores(*args), axes))
    config = base.get_config().model
    config.update_from_flattened_dict({'patch_size': 2, 'embed_dim': 16, 'depth': 1, 'positions.name': distance})
    model = models.build(config, Spec('any', (8, 8, 1), 10, tuple('0123456789'), flip=False))
    images = np.zeros((3, 8, 8, 1), np.uint8)
    with pytest.raises(TypeError, match=r'Distance\.scores returns shape .*4 heads, 1 or all images, queries, keys'):
        model.apply(model.init(jax.random.key(0)), images)


def test_the_table_lists_the_registry():
    names = re.findall(r'^\| `(\w+)` \|', PAGE, flags=re.MULTILINE)
    assert sorted(names) == sorted(POSITIONS)
