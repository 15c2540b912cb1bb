import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from configs import base
from data.spec import Spec, Split
from training import step as steps
from training.evaluate import evaluate, per_class_accuracy
from training.optimiser import build_optimiser, learning_rate_schedule

SPEC = Spec('small', (8, 8, 1), 3, ('a', 'b', 'c'), flip=True)


@pytest.fixture
def config():
    config = base.get_config()
    config.model.patch_size, config.model.embed_dim, config.model.depth = 4, 16, 1
    return config


@pytest.fixture
def split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (23, 8, 8, 1), dtype=np.uint8)
    return Split(images, generator.integers(0, 3, 23).astype(np.int32))


def setup(config):
    model = models.build(config.model, SPEC)
    optimiser = build_optimiser(config.train, model, 10)
    return model, optimiser, steps.initial_state(model, optimiser, jax.random.key(0))


def test_a_step_is_one_update_of_the_mean_loss(config, split):
    """Against the same written out: gradient of the mean smoothed cross-entropy, clipped, through AdamW."""
    model, optimiser, state = setup(config)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    after = jax.jit(steps.make_train_step(config, model, optimiser))(state, jax.random.key(1), images, labels)

    def loss_of(params):
        log_probabilities = jax.nn.log_softmax(model.apply(params, images).logits)
        targets = 0.9 * jax.nn.one_hot(labels, 3) + 0.1 / 3
        return -(targets * log_probabilities).sum(-1).mean()

    loss, gradients = jax.value_and_grad(loss_of)(state.params)
    updates, _ = optimiser.update(gradients, state.opt_state, state.params)
    expected = optax.apply_updates(state.params, updates)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), after.params, expected)
    assert int(after.step) == 1
    assert int(after.sums.examples) == 23
    np.testing.assert_allclose(after.sums.loss / 23, loss, rtol=1e-5)


def test_sums_add_up_over_steps(config, split):
    model, optimiser, state = setup(config)
    step = jax.jit(steps.make_train_step(config, model, optimiser))
    for _ in range(3):
        state = step(state, jax.random.key(1), jnp.asarray(split.images), jnp.asarray(split.labels))
    assert int(state.sums.examples) == 3 * 23
    assert 0 <= int(state.sums.correct) <= 69


def test_steps_draw_anew_and_runs_reproduce(config, split):
    config.model.dropout = 0.5
    config.train.learning_rate = 1e-30  # params as good as fixed, so the loss moves by the draws alone
    model, optimiser, state = setup(config)
    step = jax.jit(steps.make_train_step(config, model, optimiser))
    batch = jnp.asarray(split.images), jnp.asarray(split.labels)
    first = step(state, jax.random.key(1), *batch)
    again = step(state, jax.random.key(1), *batch)
    second = step(first, jax.random.key(1), *batch)
    assert float(first.sums.loss) == float(again.sums.loss)
    assert abs(float(second.sums.loss) - 2 * float(first.sums.loss)) > 1e-3


@pytest.mark.parametrize('batch_size', [1, 5, 23, 64])
def test_evaluation_counts_every_example_once(config, split, batch_size):
    model, _, state = setup(config)
    step = jax.jit(steps.make_evaluation_step(model))
    scores = evaluate(step, state.params, split, batch_size, 3)
    logits = np.asarray(model.apply(state.params, split.images).logits, np.float64)
    predicted = logits.argmax(-1)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert scores['examples'] == 23
    assert scores['accuracy'] == (predicted == split.labels).mean()
    np.testing.assert_allclose(scores['loss'], -log_probabilities[np.arange(23), split.labels].mean(), rtol=1e-5)
    for true in range(3):
        for guess in range(3):
            assert scores['confusion'][true, guess] == ((split.labels == true) & (predicted == guess)).sum()


def test_per_class_accuracy_is_nan_where_there_is_nothing_to_know():
    accuracy = per_class_accuracy(np.array([[3, 1], [0, 0]]))
    assert accuracy[0] == 0.75
    assert np.isnan(accuracy[1])


def test_schedule_warms_up_then_falls_to_zero(config):
    schedule = learning_rate_schedule(config.train, 100)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0
    assert rates.argmax() == 10
    np.testing.assert_allclose(rates[10], config.train.learning_rate, rtol=1e-6)
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    np.testing.assert_allclose(rates[100], 0, atol=1e-9)


@pytest.mark.parametrize('total', [1, 2, 3])
@pytest.mark.parametrize('warmup', [0.0, 0.5, 0.9])
def test_the_shortest_runs_have_a_schedule(config, total, warmup):
    config.train.warmup = warmup
    schedule = learning_rate_schedule(config.train, total)
    assert all(np.isfinite(float(schedule(step))) for step in range(total + 1))


def test_weight_decay_shrinks_kernels_alone(config):
    """With a zero gradient, AdamW moves only what decays."""
    _, optimiser, state = setup(config)
    params = jax.tree.map(jnp.ones_like, state.params)
    zero = jax.tree.map(jnp.zeros_like, params)
    _, opt_state = optimiser.update(zero, state.opt_state, params)  # the first step's rate is zero: warm-up
    updates, _ = optimiser.update(zero, opt_state, params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        decays = path[-1].key == 'kernel' and path[0].key != 'positions'
        assert (np.asarray(update) < 0).all() if decays else (np.asarray(update) == 0).all(), path


def test_gradients_are_clipped_by_their_global_norm(config):
    _, optimiser, state = setup(config)
    huge = jax.tree.map(lambda leaf: 1e6 * jnp.ones_like(leaf), state.params)
    _, opt_state = optimiser.update(huge, state.opt_state, state.params)
    moments = optax.tree.get(opt_state, 'mu')
    np.testing.assert_allclose(optax.tree.norm(moments), 0.1 * config.train.clip_norm, rtol=1e-4)
