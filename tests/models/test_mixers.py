import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.mixers import MIXERS
from tests.draws import normal

ARMS = [{'mixer': mixer} for mixer in MIXERS] + [{'name': 'resnet', 'resnet_width': 16}]
IDS = [*MIXERS, 'resnet']


@pytest.mark.parametrize('fields', ARMS, ids=IDS)
def test_gradients_reach_every_parameter(built, images, fields):
    model, params = built(**fields)
    # Norm scales that start at zero (ResNet) would hide what is behind them.
    seeds = itertools.count()
    params = jax.tree.map(lambda leaf: leaf + 0.05 * normal(next(seeds), leaf.shape), params)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(model.apply(params, images).logits))))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize('fields', ARMS, ids=IDS)
def test_every_mixer_overfits_one_batch(built, fields):
    model, params = built(**fields)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(8)
    optimiser = optax.flatten(optax.adam(3e-3))

    @jax.jit
    def step(params, state):
        def loss_of(params):
            logits = model.apply(params, images).logits
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimiser.update(gradients, state)
        return optax.apply_updates(params, updates), state, loss

    state = optimiser.init(params)
    first = None
    for _ in range(150):
        params, state, loss = step(params, state)
        first = loss if first is None else first
    assert first > 1
    assert loss < 0.02


@pytest.mark.parametrize(
    ('mixer', 'reach'), [('identity', 0), ('depthwise_conv', 1), ('conv', 1), ('attention', 3), ('gru', 3)]
)
def test_field_of_view(built, images, mixer, reach):
    """How far a change of one patch spreads in one block: nowhere, to the neighbours, everywhere."""
    model, params = built(mixer=mixer, depth=1, positions__name='none')
    changed = images.copy()
    changed[:, 0:2, 0:2] ^= 255  # patch (0, 0)
    before, after = (
        np.asarray(model.apply(params, batch, capture=('tokens',)).captured['tokens'][0]) for batch in (images, changed)
    )
    rows, columns = np.nonzero(np.abs(after - before).max(axis=(0, 2)).reshape(4, 4) > 0)
    assert np.maximum(rows, columns).max() == reach
    assert len(rows) == (reach + 1) ** 2


def test_capture_names_what_is_missing(built, images):
    model, params = built(mixer='conv')
    with pytest.raises(ValueError, match="capture='attention': this model has tokens"):
        model.apply(params, images, capture=('attention',))


def test_captured_attention_belongs_to_the_logits(built, images):
    model, params = built()
    plain = model.apply(params, images)
    captured = model.apply(params, images, capture=('attention', 'tokens'))
    np.testing.assert_array_equal(plain.logits, captured.logits)
    assert [weights.shape for weights in captured.captured['attention']] == [(2, 4, 16, 16)] * 2
    np.testing.assert_allclose(captured.captured['attention'][1].sum(-1), 1, atol=1e-5)


def test_gru_mixer_reads_the_sequence_both_ways(built, images):
    """The first patch and the last reach every token, each by one of the two walks."""
    model, params = built(mixer='gru', depth=1, positions__name='none')
    apply = jax.jit(lambda images: model.apply(params, images, capture=('tokens',)).captured['tokens'][0])
    for patch in (slice(0, 2), slice(6, 8)):
        changed = images.copy()
        changed[:, patch, patch] ^= 255
        assert (np.abs(apply(changed) - apply(images)).max(axis=(0, 2)) > 0).all()


def test_the_two_walks_of_the_gru_mixer_have_weights_of_their_own(built):
    _, params = built(mixer='gru', depth=1)
    mixer = params['blocks'][0]['mixer']
    assert set(mixer) == {'forward', 'backward'}
    one, other = (mixer[way]['recurrent']['kernel'] for way in ('forward', 'backward'))
    assert one.shape == other.shape == (8, 24)
    assert np.abs(one - other).max() > 0.1


def test_dropout_and_stochastic_depth_act_only_with_a_key(built, images):
    model, params = built(dropout=0.3, stochastic_depth=0.5)
    still = model.apply(params, images).logits
    np.testing.assert_array_equal(still, model.apply(params, images).logits)
    one, other = (model.apply(params, images, key=jax.random.key(seed)).logits for seed in (0, 1))
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(one, model.apply(params, images, key=jax.random.key(0)).logits)


@pytest.mark.parametrize('fields', [{}, {'name': 'resnet', 'resnet_width': 4}])
def test_a_part_of_a_batch_drops_what_it_drops_in_the_whole(built, images, fields):
    model, params = built(dropout=0.3, stochastic_depth=0.5, **fields)
    key = jax.random.key(0)
    apply = jax.jit(model.apply)
    whole = apply(params, images, key=key).logits
    for first in (0, 2):
        part = apply(params, images[first : first + 2], key=key, first=first).logits
        np.testing.assert_allclose(part, whole[first : first + 2], atol=1e-5)
    assert np.abs(apply(params, images[2:], key=key, first=0).logits - whole[2:]).max() > 1e-3


def test_stochastic_depth_drops_whole_branches_of_an_image(built):
    """In the last block at a rate near one, almost every image passes unchanged by the block."""
    model, params = built(stochastic_depth=0.99, positions__name='none')
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    tokens = model.apply(params, images, key=jax.random.key(0), capture=('tokens',)).captured['tokens']
    untouched = np.all(np.asarray(tokens[0] == tokens[1]), axis=(1, 2))
    assert untouched.mean() > 0.9
    assert untouched.shape == (64,)


@pytest.mark.parametrize('mixer', ['attention', 'conv', 'gru'])
def test_bfloat16_is_close_to_float32(config, spec, images, mixer):
    import models

    config.mixer = mixer
    wide, narrow = (models.build(config, spec, np.dtype(dtype)) for dtype in ('float32', 'bfloat16'))
    params = wide.init(jax.random.key(0))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(narrow.init(jax.random.key(0))))
    logits = narrow.apply(params, images).logits
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, wide.apply(params, images).logits, atol=0.1)


def test_no_two_kernels_start_equal(built):
    _, params = built(depth=3)
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == 'kernel']
    for index, one in enumerate(kernels):
        for other in kernels[index + 1 :]:
            assert one.shape != other.shape or np.abs(one - other).max() > 0.01


def test_decay_spares_norms_biases_and_positions(built):
    model, params = built(positions__name='rnn', depth=1)
    decayed = {
        '/'.join(str(entry.key) for entry in path)
        for path, decays in jax.tree_util.tree_leaves_with_path(model.decays(params))
        if decays
    }
    assert decayed == {
        'patches/project/kernel',
        'blocks/0/mixer/qkv/kernel',
        'blocks/0/mixer/out/kernel',
        'blocks/0/mlp/expand/kernel',
        'blocks/0/mlp/contract/kernel',
        'head/kernel',
    }


@pytest.mark.parametrize('fields', ARMS, ids=IDS)
def test_shapes_are_those_of_what_is_drawn(built, fields):
    model, params = built(**fields)
    assert jax.tree.structure(model.shapes) == jax.tree.structure(params)
    for shape, leaf in zip(jax.tree.leaves(model.shapes), jax.tree.leaves(params), strict=True):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)
