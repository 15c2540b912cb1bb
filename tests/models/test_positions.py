"""What every positional encoding must do, whatever it is. test_position_variants.py has what each says it is."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import models
from configs import base
from data.spec import Spec
from models.patches import Coordinates, grid_coordinates
from models.positions import POSITIONS, AbsolutePositions, Shape, has_params
from models.windows import offsets
from tests.draws import normal, rngs

VARIANTS = sorted(POSITIONS)
AWARE = [name for name in VARIANTS if name != 'none']
ABSOLUTE = [name for name in VARIANTS if issubclass(POSITIONS[name], AbsolutePositions)]
RELATIVE = [name for name in VARIANTS if POSITIONS[name].in_attention]
CONTENT_FREE = [name for name in VARIANTS if POSITIONS[name].scores_content_free]
GRID = (4, 4)
DIM, HEADS, HEAD_DIM = 32, 2, 16
TOKENS, OFFSETS = 16, 7 * 7

# Of one copy; by the formulas in the docstrings.
PARAMETERS = {
    'none': 0,
    'sinusoidal_1d': 0,
    'sinusoidal_2d': 0,
    'alibi_2d': 0,
    'learned_1d': TOKENS * DIM,
    'learned_2d': (4 + 4) * DIM,
    'relative_bias': HEADS * OFFSETS,
    'relative_vectors': (7 + 7) * HEAD_DIM,
    'rnn': 2 * DIM + 2 * (DIM * 3 * DIM + 3 * DIM) + DIM * DIM + DIM,
    'ode': DIM + (DIM + 2) * DIM + (DIM + 1) * DIM,
    'mlp': (2 + 1) * DIM + (DIM + 1) * DIM,
    'fourier': DIM // 2 + (DIM // 2 + 1) * 32 + (32 + 1) * DIM,
    'gaussian': HEADS * (2 + 4),
    'rope_axial': 0,
    'rope_mixed': HEADS * HEAD_DIM,
    'conditional': 10 * DIM,
}


@pytest.fixture
def aware(built):
    """build(name, **fields) -> a model and params in which the codes are too large to overlook."""

    def build(name, **fields):
        model, params = built(embed_dim=DIM, positions__name=name, **fields)
        leaves, tree = jax.tree.flatten(params.get('positions', []))
        noisy = [leaf + 0.3 * normal(seed, leaf.shape) for seed, leaf in enumerate(leaves)]
        return model, params | ({'positions': jax.tree.unflatten(tree, noisy)} if leaves else {})

    return build


def permuted(coordinates, order):
    return Coordinates(coordinates.centres[order], coordinates.order[order], coordinates.grid)


def shuffle_patches(images, order, patch=2):
    """The image whose patches are those of `images` in another order."""
    batch, side = len(images), images.shape[1] // patch
    squares = images.reshape(batch, side, patch, side, patch, 1).transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(batch, side * side, patch, patch, 1)[:, order]
    return squares.reshape(batch, side, side, patch, patch, 1).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def test_the_registry_holds_those_whose_parameters_are_counted_here():
    assert set(POSITIONS) == set(PARAMETERS)


@pytest.mark.parametrize('name', VARIANTS)
def test_only_none_is_blind_to_the_order_of_tokens(aware, images, name):
    model, params = aware(name)
    order = np.random.default_rng(0).permutation(16)
    before, after = (model.apply(params, image).logits for image in (images, shuffle_patches(images, order)))
    difference = np.abs(before - after).max()
    assert difference < 1e-5 if name == 'none' else difference > 1e-3


@pytest.mark.parametrize('name', VARIANTS)
def test_permuting_tokens_and_coordinates_together_changes_nothing(aware, images, name):
    model, params = aware(name)
    order = np.random.default_rng(0).permutation(16)
    expected = model.apply(params, images).logits
    coordinates = permuted(grid_coordinates(GRID), order)
    moved = model.apply(params, shuffle_patches(images, order), coordinates=coordinates).logits
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    # And when nobody knows the order before the program runs.
    traced = jax.jit(lambda where: model.apply(params, shuffle_patches(images, order), coordinates=where).logits)
    np.testing.assert_allclose(traced(coordinates), expected, atol=1e-5)


@pytest.mark.parametrize('name', AWARE)
def test_translation_is_seen_by_absolute_codes_alone(aware, images, name):
    model, params = aware(name)
    here = grid_coordinates(GRID)
    there = here.replace(centres=here.centres + np.float32([3, -2]), order=here.order + 5)
    difference = np.abs(model.apply(params, images, coordinates=there).logits - model.apply(params, images).logits)
    if name in RELATIVE or name == 'conditional':
        assert difference.max() < 2e-5
    else:
        assert difference.max() > 1e-3


@pytest.mark.parametrize('policy', ['extend', 'rescale'])
@pytest.mark.parametrize('shape', [(16, 16), (12, 8), (4, 4)])
@pytest.mark.parametrize('name', VARIANTS)
def test_runs_on_other_grids(aware, name, shape, policy):
    model, params = aware(name)
    grid = (shape[0] // 2, shape[1] // 2)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 1), dtype=np.uint8)
    coordinates = grid_coordinates(grid, GRID, policy)
    logits = model.apply(params, images, coordinates=coordinates).logits
    assert np.isfinite(logits).all()
    if policy == 'extend':
        np.testing.assert_array_equal(logits, model.apply(params, images).logits)


@pytest.mark.parametrize('name', VARIANTS)
def test_a_sequence_is_a_grid_of_one_row(config, name):
    config.update_from_flattened_dict({'embed_dim': DIM, 'positions.name': name})
    model = models.build(config, Spec('sequence', (2, 20, 1), 10, tuple('0123456789'), flip=False))
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 20, 1), dtype=np.uint8)
    params = model.init(jax.random.key(0))
    logits = model.apply(params, images).logits
    longer = model.apply(params, np.concatenate([images, images], axis=2)).logits
    assert np.isfinite(logits).all()
    assert np.isfinite(longer).all()


@pytest.mark.parametrize('name', VARIANTS)
def test_bfloat16_is_close_to_float32(config, spec, aware, images, name):
    model, params = aware(name)
    half = models.build(config, spec, jnp.bfloat16)
    full = model.apply(params, images).logits
    positions = POSITIONS[name](Shape(DIM, HEADS, GRID), rngs=rngs())
    q = normal(0, (HEADS, 1, TOKENS, HEAD_DIM), jnp.bfloat16)
    # Codes and logits are float32 whatever the compute type, and angles too: far away bfloat16 would have none left.
    if name in ABSOLUTE:
        assert positions.codes(grid_coordinates(GRID)).dtype == jnp.float32
    scores = positions.scores(q, q, offsets(grid_coordinates(GRID)))
    assert isinstance(scores, float) or scores.dtype == jnp.float32
    far = grid_coordinates(GRID)
    far = far.replace(centres=far.centres + np.float32(1000.3))
    turned, expected = (positions.rotate(q.astype(dtype), q, far)[0] for dtype in (jnp.bfloat16, jnp.float32))
    assert turned.dtype == jnp.bfloat16
    np.testing.assert_allclose(turned.astype(jnp.float32), expected, atol=0.02)
    assert np.abs(half.apply(params, images).logits - full).max() < 0.05 * np.abs(full).max()


@pytest.mark.parametrize('name', VARIANTS)
def test_parameter_count_is_the_documented_one(name):
    positions = POSITIONS[name](Shape(DIM, HEADS, GRID), rngs=rngs())
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(positions, nnx.Param))) == PARAMETERS[name]


@pytest.mark.parametrize('name', [name for name in VARIANTS if PARAMETERS[name]])
def test_gradients_reach_every_parameter_of_every_copy(aware, images, name):
    inject = 'every_layer' if name in ABSOLUTE else 'stem'
    model, params = aware(name, positions__inject=inject)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(model.apply(params, images).logits))))(params)
    copies = 2 if name in ABSOLUTE or POSITIONS[name].per_layer else 1
    assert len(gradients['positions']) == copies
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients['positions']):
        assert np.abs(leaf).min() > 0, path


@pytest.mark.parametrize('name', ['relative_bias', 'relative_vectors'])
def test_tables_are_as_large_as_the_window(aware, images, name):
    model, params = aware(name, window=3)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(model.apply(params, images).logits))))(params)
    sizes = {'relative_bias': HEADS * 3 * 3, 'relative_vectors': (3 + 3) * HEAD_DIM}
    for copy in gradients['positions'].values():
        leaves = jax.tree.leaves(copy)
        assert sum(leaf.size for leaf in leaves) == sizes[name]
        assert all(np.abs(leaf).min() > 0 for leaf in leaves)


@pytest.mark.parametrize(
    ('grid', 'window', 'reach'),
    [((4, 6), None, (3, 5)), ((4, 6), 3, (1, 1)), ((4, 6), 9, (3, 4)), ((4, 6), 99, (3, 5)), ((1, 8), 5, (0, 2))],
)
def test_no_offset_is_larger_than_the_window_or_the_grid(grid, window, reach):
    assert Shape(16, 2, grid, window).reach == reach


def test_what_has_params_says_so():
    assert {name for name in VARIANTS if has_params(POSITIONS[name])} == {name for name in VARIANTS if PARAMETERS[name]}


@pytest.mark.parametrize('name', CONTENT_FREE)
def test_by_position_alone_no_query_meets_a_key(aware, images, name):
    model, params = aware(name, positions__content=False)
    assert params['blocks'][0]['mixer']['qkv']['kernel'].shape == (DIM, DIM)
    weights = model.apply(params, images, capture=('attention',)).captured['attention']
    for layer in weights:
        assert layer.shape == (HEADS, len(images), 16, 16)
        np.testing.assert_allclose(layer.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(layer, np.broadcast_to(layer[:, :1], layer.shape))  # the same for any image
    gradients = jax.grad(lambda params: jnp.sum(jnp.sin(model.apply(params, images).logits)))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize('name', ABSOLUTE)
@pytest.mark.parametrize('inject', base.INJECTIONS)
def test_absolute_codes_go_in_where_inject_says(aware, images, name, inject):
    model, params = aware(name, positions__inject=inject)
    if PARAMETERS[name]:
        assert len(params['positions']) == (2 if inject == 'every_layer' else 1)
    logits = model.apply(params, images).logits
    if inject == 'every_layer_shared':
        stem, _ = aware(name, positions__inject='stem')
        assert np.abs(stem.apply(params, images).logits - logits).max() > 1e-4


@pytest.mark.parametrize('name', ABSOLUTE)
def test_codes_of_different_places_differ(name):
    positions = POSITIONS[name](Shape(DIM, HEADS, GRID), rngs=rngs())
    codes = np.asarray(positions.codes(grid_coordinates(GRID)))
    assert codes.shape == (16, DIM)
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    assert distances[~np.eye(16, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize('name', ABSOLUTE)
def test_extending_the_range_keeps_the_codes_of_the_trained_places(name):
    """The corner of a larger image has the codes that it had alone, except where the raster order itself moves."""
    positions = POSITIONS[name](Shape(DIM, HEADS, GRID), rngs=rngs())
    trained = grid_coordinates(GRID)
    # The trained tokens, said to come from a grid twice as high: the sequence goes on after them.
    higher = grid_coordinates((8, 4), GRID)
    np.testing.assert_allclose(positions.codes(higher)[:16], positions.codes(trained), atol=1e-5)


def marks(key, count):
    """Noise with one bright patch, and the quadrant that it lies in."""
    place_key, noise_key = jax.random.split(key)
    row, column = jax.random.randint(place_key, (2, count, 1, 1), 0, 4)
    here = (jnp.arange(8)[:, None] // 2 == row) & (jnp.arange(8) // 2 == column)
    images = jnp.where(here, 255.0, 30 * jax.random.uniform(noise_key, (count, 8, 8)))
    return images[..., None], (2 * (row // 2) + column // 2)[:, 0, 0]


@pytest.mark.parametrize('name', VARIANTS)
def test_which_quadrant_holds_the_mark(name):
    """Every image has the same set of patches but for the noise: only a model that knows where they are can say."""
    config = base.get_config().model
    config.update_from_flattened_dict(
        {'patch_size': 2, 'embed_dim': 16, 'depth': 2, 'num_heads': 4, 'positions.name': name}
    )
    model = models.build(config, Spec('marks', (8, 8, 1), 4, tuple('0123'), flip=False))
    steps = 1000
    schedule = optax.warmup_cosine_decay_schedule(0.0, 5e-3, 20, steps)
    optimiser = optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule)))

    def step(carry, key):
        params, state = carry
        images, quadrants = marks(key, 32)

        def loss_of(params):
            logits = model.apply(params, images).logits
            return optax.softmax_cross_entropy_with_integer_labels(logits, quadrants).mean()

        updates, state = optimiser.update(jax.grad(loss_of)(params), state)
        return (optax.apply_updates(params, updates), state), None

    # Up to 3,000 steps are longer than the little that LLVM does at level 1.
    @functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 1})
    def quarter(carry, keys):
        (params, state), _ = jax.lax.scan(step, carry, keys)
        images, quadrants = marks(jax.random.key(1), 512)
        return (params, state), jnp.mean(jnp.argmax(model.apply(params, images).logits, axis=-1) == quadrants)

    def course(seed):
        params = model.init(jax.random.key(seed))
        carry = params, optimiser.init(params)
        for keys in jax.random.split(jax.random.key(seed), steps).reshape(4, -1):
            carry, accuracy = quarter(carry, keys)
            yield float(accuracy)

    # Most learn it within 250 steps; a GRU's codes take up to 1,000 to tell the last two places apart, and a flow's
    # longer, from one start of 40: the first of three starts that finds it will do.
    accuracies = itertools.chain.from_iterable(map(course, range(3)))
    if name == 'none':
        assert max(accuracies) < 0.4
    else:
        assert any(accuracy > 0.95 for accuracy in accuracies)


def test_coordinates_must_be_those_of_the_tokens(built, images):
    model, params = built()
    for wrong in (grid_coordinates((1, 1)), grid_coordinates((2, 4)), grid_coordinates((5, 5))):
        with pytest.raises(ValueError, match='for 16 tokens'):
            model.apply(params, images, coordinates=wrong)
