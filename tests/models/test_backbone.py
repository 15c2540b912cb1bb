"""A seed pairs arms: what they have in common starts as the same numbers."""

import jax
import numpy as np
import pytest

import models
from models.mixers import MIXERS
from models.positions import POSITIONS


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
