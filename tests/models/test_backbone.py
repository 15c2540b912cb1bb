"""A seed pairs arms: what they have in common starts as the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.mixers import MIXERS
from models.patches import to_patches
from models.positions import POSITIONS
from tests.draws import normal


@pytest.fixture
def initial(built):
    """initial(**fields) -> the params that an arm starts from, by path; those named `without` left out."""

    def of(*, without=(), **fields):
        _, params = built(**fields)
        leaves = {
            tuple(entry.key for entry in path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
        return {path: leaf for path, leaf in leaves.items() if not set(path) & set(without)}

    return of


def assert_equal(arm, reference):
    assert arm.keys() == reference.keys()
    for path, leaf in arm.items():
        np.testing.assert_array_equal(leaf, reference[path], err_msg=str(path))


@pytest.mark.parametrize('inject', ['stem', 'every_layer'])
@pytest.mark.parametrize('name', POSITIONS)
def test_arms_that_differ_in_positions_start_from_the_same_weights(initial, name, inject):
    reference = initial(positions__name='none')
    assert_equal(initial(without=['positions'], positions__name=name, positions__inject=inject), reference)


@pytest.mark.parametrize('mixer', MIXERS)
def test_arms_that_differ_in_the_mixer_do_too(initial, mixer):
    fields = {'without': ['mixer'], 'positions__name': 'learned_1d'}
    assert_equal(initial(mixer=mixer, **fields), initial(mixer='attention', **fields))


def test_heads_and_windows_change_no_weight(initial):
    assert_equal(initial(num_heads=1, window=3), initial(num_heads=4, window=None))


def test_no_two_weights_are_drawn_alike(initial):
    """One key for two of them would make them equal where they have one shape."""
    kernels = [leaf for leaf in initial(positions__name='learned_1d', depth=3).values() if leaf.std() > 0]
    firsts = [leaf.ravel()[:4] / leaf.std() for leaf in kernels]
    assert len(kernels) > 12
    assert len(np.unique(np.round(firsts, 3), axis=0)) == len(kernels)


def test_logits_are_those_of_pre_norm_blocks_a_norm_and_a_mean(built, images):
    """Written out, with a convolution over single patches for a mixer: it is a product with each token."""
    model, params = built(mixer='conv', kernel_size=1, positions__name='learned_1d')
    leaves, rebuild = jax.tree.flatten(params)
    params = rebuild.unflatten(leaf + 0.3 * normal(seed, leaf.shape) for seed, leaf in enumerate(leaves))

    def dense(x, layer):
        return x @ layer['kernel'].reshape(layer['kernel'].shape[-2:]) + layer['bias']

    def normalised(x, layer):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-6) * layer['scale'] + layer['bias']

    x = dense(to_patches(jnp.asarray(images / 127.5 - 1), 2), params['patches']['project'])
    (positions,) = params['positions'].values()
    x = x + positions['table'].reshape(16, 16)
    for block in params['blocks'].values():
        x = x + dense(normalised(x, block['norm_mixer']), block['mixer']['conv'])
        hidden = jax.nn.gelu(dense(normalised(x, block['norm_mlp']), block['mlp']['expand']), approximate=True)
        x = x + dense(hidden, block['mlp']['contract'])
    expected = dense(normalised(x, params['norm']).mean(1), params['head'])
    np.testing.assert_allclose(model.apply(params, images).logits, expected, rtol=1e-3, atol=1e-3)


def test_a_hidden_width_is_found_again_in_its_ratio(built):
    """models.matching writes it so; (61 / 28) * 28 is below 61 in floating point."""
    _, params = built(embed_dim=28, mlp_ratio=61 / 28)
    assert {block['mlp']['expand']['kernel'].shape for block in params['blocks'].values()} == {(28, 61)}


def test_conditional_codes_are_added_after_the_first_block_alone(built, images):
    """A block whose weights are zero is seen to pass its tokens on as they came."""
    model, params = built(mixer='conv', positions__name='conditional', depth=3)
    for layer, block in params['blocks'].items():
        silent = {name: jax.tree.map(np.zeros_like, block[name]) for name in ('mixer', 'mlp')}
        params['blocks'][layer] = block | silent
    tokens = model.apply(params, images, capture=('tokens',)).captured['tokens']
    embedded = to_patches(jnp.asarray(images / 127.5 - 1), 2) @ params['patches']['project']['kernel']
    assert np.abs(tokens[0] - embedded).max() > 0.1
    np.testing.assert_array_equal(tokens[1], tokens[0])
    np.testing.assert_array_equal(tokens[2], tokens[0])


@pytest.mark.parametrize('patch_size', [4, 1], ids=['4 tokens', '64 tokens'])
def test_what_the_backward_pass_keeps_is_half_as_large_in_bfloat16(config, spec, patch_size):
    """Attention's weights and what norms make of tokens included, though both are computed in float32."""
    config.patch_size, config.embed_dim, config.num_heads = patch_size, 64, 4
    kept = {}
    for dtype in ('float32', 'bfloat16'):
        model = models.build(config, spec, np.dtype(dtype))

        def loss(params, images, model=model):
            return model.apply(params, images, key=jax.random.key(0)).logits.sum()

        def backward(params, images, loss=loss):
            return jax.vjp(lambda params: loss(params, images), params)[1]

        shapes = model.shapes, jax.ShapeDtypeStruct((32, 8, 8, 1), np.uint8)
        leaves = jax.tree.leaves(jax.eval_shape(backward, *shapes))
        # Params are float32 in both; casts of them are small beside 32 images.
        kept[dtype] = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if 32 in leaf.shape or leaf.ndim > 2)
    assert 0.45 < kept['bfloat16'] / kept['float32'] < 0.56


@pytest.mark.parametrize(
    ('fields', 'reach'),
    [
        ({'window': 3}, 1),
        ({'window': 5}, 2),
        ({'mixer': 'conv'}, 1),
        ({'mixer': 'depthwise_conv', 'kernel_size': 5}, 2),
    ],
    ids=str,
)
def test_what_no_token_sees_together_adds_up(config, spec, fields, reach):
    """Of two blocks, patches more than four times their reach apart: no relation of theirs can be learned, whatever
    the params (configs/tables/distance.py). A patch less, and they meet in the token between them.
    """
    config.depth, config.positions.name = 2, 'none'
    config.update(fields)
    model = models.build(config, spec._replace(image_shape=(14, 24, 1)))
    params = jax.tree.map(lambda leaf: leaf + 0.5 * normal(leaf.size, leaf.shape), model.init(jax.random.key(0)))

    def related(apart):
        """How far the logits of both patches are from the sum of what each changes by itself."""
        images = np.zeros((4, 14, 24, 1), np.uint8)
        images[[1, 3], 6:8, 2:4] = 200
        images[[2, 3], 6:8, 2 * (1 + apart) : 2 * (2 + apart)] = 90
        none, one, other, both = model.apply(params, images).logits
        return np.abs(both - one - other + none).max() / np.abs(both - none).max()

    assert related(4 * reach) > 1e-4
    assert related(4 * reach + 1) < 1e-5
