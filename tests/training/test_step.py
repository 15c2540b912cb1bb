import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from configs import base
from data.spec import Spec, Split
from models.accounting import peak_memory_bytes
from tests.draws import normal
from training import step as steps
from training.compiling.xla_options import compiled
from training.evaluate import evaluate, per_class_accuracy
from training.optimiser import Rates, build_optimiser, relative_learning_rate

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
    return model, Rates.of(config.train), steps.initial_state(config, model, jax.random.key(0))


def test_a_step_is_one_update_of_the_mean_loss(config, split):
    """Against the same written out: gradient of the mean smoothed cross-entropy, clipped, through AdamW."""
    model, rates, state = setup(config)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    after = jax.jit(steps.make_train_step(config, model, 10))(state, jax.random.key(1), rates, images, labels)
    optimiser = build_optimiser(config.train, model, 10, rates)

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
    model, rates, state = setup(config)
    step = jax.jit(steps.make_train_step(config, model, 10))
    for _ in range(3):
        state = step(state, jax.random.key(1), rates, jnp.asarray(split.images), jnp.asarray(split.labels))
    assert int(state.sums.examples) == 3 * 23
    assert 0 <= int(state.sums.correct) <= 69


def test_what_a_step_gets_right_is_counted_before_it_changes_anything(config, split):
    model, rates, state = setup(config)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    predicted = np.asarray(model.apply(state.params, images).logits).argmax(-1)
    after = jax.jit(steps.make_train_step(config, model, 10))(state, jax.random.key(1), rates, images, labels)
    assert int(after.sums.correct) == (predicted == split.labels).sum() > 0


@pytest.mark.parametrize(('before', 'after', 'first'), [(0, 0, 0), (0, 4, 4), (3, 0, 3), (3, 4, 3)])
def test_sums_keep_the_first_step_that_diverged(before, after, first):
    one, other = (steps.Sums.zeros()._replace(diverged=jnp.int32(step)) for step in (before, after))
    assert int(one.plus(other).diverged) == first


@pytest.mark.parametrize(('field', 'value'), [('model.dropout', 0.5), ('data.augment.crop', 2)])
def test_steps_draw_anew_and_runs_reproduce(config, split, field, value):
    config.update_from_flattened_dict({field: value})
    config.train.learning_rate = 1e-30  # params as good as fixed, so the loss moves by the draws alone
    model, rates, state = setup(config)
    step = jax.jit(steps.make_train_step(config, model, 10))
    batch = jnp.asarray(split.images), jnp.asarray(split.labels)
    first = step(state, jax.random.key(1), rates, *batch)
    again = step(state, jax.random.key(1), rates, *batch)
    second = step(first, jax.random.key(1), rates, *batch)
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


def test_an_evaluation_waits_for_a_device_that_falls_behind(split):
    """Else all images of a split that does not fit on it are on it, for as long as it takes."""
    pending, most = [], 0

    class Pending:
        def __init__(self):
            nonlocal most
            pending.append(self)
            most = max(most, len(pending))

        def block_until_ready(self):
            del pending[: pending.index(self) + 1]  # a device computes them in turn
            return self

        def __array__(self, *arguments, **options):
            return np.array(1.0)

    def step(params, sums, images, labels, mask):
        return steps.Evaluation(Pending(), np.ones((3, 3)))

    evaluate(step, {}, split, 1, 3)
    assert 1 < most <= 3


def test_per_class_accuracy_is_nan_where_there_is_nothing_to_know():
    accuracy = per_class_accuracy(np.array([[3, 1], [0, 0]]))
    assert accuracy[0] == 0.75
    assert np.isnan(accuracy[1])


def test_schedule_warms_up_then_falls_to_zero(config):
    rates = np.array([float(relative_learning_rate(config.train, 100)(step)) for step in range(101)])
    assert rates[0] == 0
    assert rates.argmax() == 10
    np.testing.assert_allclose(rates[10], 1, rtol=1e-6)
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    np.testing.assert_allclose(rates[100], 0, atol=1e-6)


def test_the_schedule_is_a_line_and_then_half_a_cosine(config):
    rates = [float(relative_learning_rate(config.train, 100)(step)) for step in range(101)]
    np.testing.assert_allclose(rates[:11], np.arange(11) / 10, atol=1e-6)
    np.testing.assert_allclose(rates[10:], (1 + np.cos(np.pi * np.arange(91) / 90)) / 2, atol=1e-6)


@pytest.mark.parametrize(('warmup', 'steps'), [(0.99, 10), (0.9, 1), (0.5, 2), (0.1, 3)])
def test_a_warm_up_that_takes_nearly_all_steps_still_reaches_the_peak(config, warmup, steps):
    config.train.warmup = warmup
    rates = [float(relative_learning_rate(config.train, steps)(step)) for step in range(steps + 1)]
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(('warmup', 'total', 'peak'), [(0.29, 100, 29), (0.1, 18, 2), (0.1, 14, 1)])
def test_a_warm_up_ends_at_the_step_that_is_nearest_to_its_share(config, warmup, total, peak):
    """100 * 0.29 is below 29 in floating point."""
    config.train.warmup = warmup
    rates = [float(relative_learning_rate(config.train, total)(step)) for step in range(total + 1)]
    assert np.argmax(rates) == peak


@pytest.mark.parametrize('total', [1, 2, 3])
@pytest.mark.parametrize('warmup', [0.0, 0.5, 0.9])
def test_the_shortest_runs_have_a_schedule(config, total, warmup):
    config.train.warmup = warmup
    schedule = relative_learning_rate(config.train, total)
    assert all(np.isfinite(float(schedule(step))) for step in range(total + 1))


def test_weight_decay_shrinks_kernels_alone(config):
    """With a zero gradient, AdamW moves only what decays."""
    model, rates, state = setup(config)
    optimiser = build_optimiser(config.train, model, 10, rates)
    params = jax.tree.map(jnp.ones_like, state.params)
    zero = jax.tree.map(jnp.zeros_like, params)
    _, opt_state = optimiser.update(zero, state.opt_state, params)  # the first step's rate is zero: warm-up
    updates, _ = optimiser.update(zero, opt_state, params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        decays = path[-1].key == 'kernel' and path[0].key != 'positions'
        assert (np.asarray(update) < 0).all() if decays else (np.asarray(update) == 0).all(), path


def test_gradients_are_clipped_by_their_global_norm(config):
    model, rates, state = setup(config)
    optimiser = build_optimiser(config.train, model, 10, rates)
    huge = jax.tree.map(lambda leaf: 1e6 * jnp.ones_like(leaf), state.params)
    _, opt_state = optimiser.update(huge, state.opt_state, state.params)
    moments = optax.tree.get(opt_state, 'mu')
    np.testing.assert_allclose(optax.tree.norm(moments), 0.1 * config.train.clip_norm, rtol=1e-4)


def test_updates_are_adamw_s_equations(config):
    """Loshchilov & Hutter 2019, algorithm 2, of gradients beyond the norm to clip to, and below it."""
    model, rates, state = setup(config)
    optimiser, schedule = build_optimiser(config.train, model, 10, rates), relative_learning_rate(config.train, 10)
    decays, (params, rebuild) = jax.tree.leaves(model.decays(state.params)), jax.tree.flatten(state.params)
    expected = [np.asarray(leaf, np.float64) for leaf in params]
    first, second = ([np.zeros(leaf.shape) for leaf in params] for _ in range(2))
    after, opt_state = state.params, state.opt_state
    for step in range(5):
        drawn = [0.1**step * normal(10 * step + index, leaf.shape) for index, leaf in enumerate(params)]
        updates, opt_state = optimiser.update(jax.tree.unflatten(rebuild, drawn), opt_state, after)
        after = optax.apply_updates(after, updates)
        norm = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in drawn))
        rate = config.train.learning_rate * float(schedule(step))
        for index, gradient in enumerate(np.asarray(leaf, np.float64) * min(1, 1 / norm) for leaf in drawn):
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            mean, square = first[index] / (1 - 0.9 ** (step + 1)), second[index] / (1 - 0.999 ** (step + 1))
            decay = config.train.weight_decay * expected[index] * decays[index]
            expected[index] = expected[index] - rate * (mean / (np.sqrt(square) + 1e-8) + decay)
    for ours, theirs, before in zip(jax.tree.leaves(after), expected, params, strict=True):
        np.testing.assert_allclose(ours - before, theirs - before, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize('mixer', ['attention', 'conv', 'gru'])
def test_accumulated_gradients_are_those_of_the_whole_batch(config, split, mixer):
    """What is dropped included."""
    config.model.mixer, config.model.dropout = mixer, 0.3
    images, labels = jnp.asarray(split.images[:20]), jnp.asarray(split.labels[:20])
    after = []
    for parts in (1, 5):
        config.train.accumulate = parts
        model, rates, state = setup(config)
        step = jax.jit(steps.make_train_step(config, model, 10))
        for _ in range(3):  # the first has no rate yet: warm-up
            state = step(state, jax.random.key(1), rates, images, labels)
        after.append(state)
    whole, accumulated = after
    assert int(accumulated.sums.examples) == 60
    np.testing.assert_allclose(accumulated.sums.loss, whole.sums.loss, rtol=1e-5)
    # Params whose gradient is zero but for rounding (the bias of the keys) go astray in AdamW; what they do does not.
    one, other = (model.apply(state.params, images).logits for state in after)
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_batch_in_many_parts_takes_less_memory(config, split):
    images, labels = jnp.asarray(np.resize(split.images, (64, 8, 8, 1))), jnp.asarray(np.resize(split.labels, 64))
    taken = {}
    for parts in (1, 8):
        config.train.accumulate = parts
        model, rates, state = setup(config)
        step = jax.jit(steps.make_train_step(config, model, 10))
        taken[parts] = peak_memory_bytes(compiled(step.lower(state, jax.random.key(1), rates, images, labels), config))
    assert taken[8] < taken[1] / 2


@pytest.mark.parametrize('fields', [{}, {'model.mixer': 'conv'}, {'model.name': 'resnet', 'model.resnet_width': 16}])
def test_steps_in_bfloat16_are_near_those_in_float32(config, split, fields):
    """Eight bits of a product's terms: a loss is off by a percent, and params by less than the way they went."""
    config.update_from_flattened_dict(fields)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    first, after = None, []
    for dtype in ('float32', 'bfloat16'):
        config.train.compute_dtype = dtype
        model = models.build(config.model, SPEC, jnp.dtype(dtype))
        rates, state = Rates.of(config.train), steps.initial_state(config, model, jax.random.key(0))
        first = state.params
        step = jax.jit(steps.make_train_step(config, model, 10))
        for _ in range(3):
            state = step(state, jax.random.key(1), rates, images, labels)
        after.append(state)
    exact, rounded = after
    assert {leaf.dtype.name for leaf in jax.tree.leaves(rounded.params)} == {'float32'}
    np.testing.assert_allclose(rounded.sums.loss, exact.sums.loss, rtol=0.01)
    assert float(rounded.sums.loss) != float(exact.sums.loss)
    way = optax.tree.norm(jax.tree.map(jnp.subtract, exact.params, first))
    apart = optax.tree.norm(jax.tree.map(jnp.subtract, exact.params, rounded.params))
    assert apart < 0.5 * way


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_several_steps_in_one_dispatch_are_these_steps(config, split, backend, monkeypatch):
    """In either kind of loop; which is a GPU's is told by what it is compiled from."""
    monkeypatch.setattr(steps.jax, 'default_backend', lambda: backend)
    config.model.dropout = 0.3
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    rows = np.random.default_rng(1).integers(0, 23, (4, 8)).astype(np.int32)
    model, rates, state = setup(config)
    program = jax.jit(steps.make_train_steps(config, model, 10))
    loop = program.lower(state, jax.random.key(1), rates, images, labels, rows, 3).as_text().partition('cond {')[2]
    assert ('dense<4>' in loop.partition('stablehlo.return')[0]) == (backend == 'gpu')
    at_once = program(state, jax.random.key(1), rates, images, labels, rows, 3)
    for row in rows[:3]:
        state = program(state, jax.random.key(1), rates, images, labels, row[None])
    assert int(at_once.step) == int(state.step) == 3  # the last row was not asked for
    one, other = (model.apply(after.params, images).logits for after in (at_once, state))
    np.testing.assert_allclose(one, other, atol=1e-3)
    np.testing.assert_allclose(at_once.sums.loss, state.sums.loss, rtol=1e-5)
