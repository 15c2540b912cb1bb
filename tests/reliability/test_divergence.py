"""A run that diverges says at which step, saves nothing of it, and ends."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import Model, Outputs
from tests.reliability.runs import timeless
from training import loop, results
from training.optimiser import Rates
from training.recording.lagged_rows import LaggedRows
from training.recording.log import read_rows
from training.saving import checkpoints
from training.step import initial_state, make_train_step


@pytest.fixture
def diverging(config):
    """Its rate rises until the loss overflows, in the middle of its course."""
    config.train.learning_rate, config.train.clip_norm, config.train.warmup = 1e30, 0.0, 0.9
    config.model.dropout = 0.0
    return config


def test_the_step_does_not_depend_on_rows_and_dispatches(diverging, train, tmp_path):
    found = set()
    for index, (every, dispatch) in enumerate([(1, 1), (4, 1), (24, 1), (4, 4), (5, 3)]):
        diverging.log.every, diverging.train.steps_per_dispatch = every, dispatch
        folder = tmp_path / str(index)
        result = train(diverging, folder)
        assert result['status'] == 'diverged'
        step = result['diverged_step']
        found.add(step)
        assert all(row['step'] < step for row in read_rows(folder / 'metrics.jsonl'))
        assert all(saved < step for saved in checkpoints.steps(folder))
        assert max(checkpoints.steps(folder), default=0) >= step - 4  # the last before it is there
    assert len(found) == 1
    assert 1 < step < 24


def test_the_rows_before_it_are_there_however_late_they_come(diverging, train, tmp_path, monkeypatch):
    """An accelerator is heard to diverge before the row of the step before is written."""
    diverging.train.steps_per_dispatch, diverging.checkpoint.count = 1, 1
    diverging.log.every = train(diverging, tmp_path / 'found')['diverged_step'] - 1
    at_once = train(diverging, tmp_path / 'at once')

    def ask(rows, step, sums):
        rows.write()
        rows._asked, rows._logged, rows._since = (step, step - rows._logged, sums), step, 0

    monkeypatch.setattr(LaggedRows, 'ask', ask)
    assert train(diverging, tmp_path / 'late') == at_once
    expected, found = (read_rows(tmp_path / name / 'metrics.jsonl') for name in ('at once', 'late'))
    assert [row['step'] for row in expected] == [diverging.log.every]
    assert list(map(timeless, found)) == list(map(timeless, expected))


def test_a_loss_that_overflows_on_test_images_alone_is_divergence(config, train, tmp_path, monkeypatch):
    """No gradient and no validation tells of it; as numbers the scores could not be written."""
    score = results.score

    def overflows(run, state, split, between):
        lost = {'loss': float('inf')} if split == 'test' else {}
        return [scores | lost for scores in score(run, state, split, between)]

    monkeypatch.setattr(results, 'score', overflows)
    result = train(config, tmp_path / 'x')
    assert (result['status'], result['diverged_step']) == ('diverged', loop.total_steps(config, 0))


def test_a_gradient_that_is_not_finite_is_divergence_though_the_loss_is(config):
    """The square root at zero."""

    def apply(params, images, **_):
        return Outputs(jnp.sqrt(params['w']) * jnp.ones((len(images), 10)), {})

    shapes = {'w': jax.ShapeDtypeStruct((10,), jnp.float32)}
    model = Model(lambda key: {'w': jnp.zeros(10)}, apply, lambda params: {'w': False}, shapes)
    config.data.augment.crop = 0
    state = initial_state(config, model, jax.random.key(0))
    step = make_train_step(config, model, 10)
    images, labels = jnp.zeros((16, 8, 8, 1), jnp.uint8), jnp.arange(16, dtype=jnp.int32) % 10
    state = step(state, jax.random.key(1), Rates.of(config.train), images, labels)
    assert np.isfinite(state.sums.loss)
    assert int(state.sums.diverged) == 1


def test_the_operation_is_found_where_it_is_asked_for(diverging, train, tmp_path):
    diverging.debug.check_numerics = True
    result = train(diverging, tmp_path)
    assert 'models/' in result['first_bad_operation'] or 'training/' in result['first_bad_operation']
    json.dumps(result, allow_nan=False)
