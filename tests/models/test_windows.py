import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import windows
from models.accounting import peak_memory_bytes
from models.attention import attend, attend_in_blocks
from models.patches import Coordinates, grid_coordinates
from models.positions import POSITIONS, Shape, overrides
from models.windows import Tiling

# What acts on tokens before attention, or between blocks, leaves attention as `none` does.
ACTING = [
    name for name, kind in POSITIONS.items() if name == 'none' or overrides(kind, 'scores') or overrides(kind, 'rotate')
]
HEADS, BATCH, HEAD_DIM = 2, 2, 16
TRAINED = (4, 5)

# Sizes that blocks divide and do not, one axis uncut, a reach beyond a block, a token that sees itself alone.
TILINGS = [
    Tiling((1, 12), (1, 4), (2, 2)),
    Tiling((1, 11), (1, 3), (5, 5)),
    Tiling((7, 1), (2, 1), (1, 1)),
    Tiling((6, 8), (3, 4), (1, 1)),
    Tiling((7, 5), (3, 2), (2, 2)),
    Tiling((5, 7), (2, 7), (1, 1)),
    Tiling((5, 7), (5, 3), (3, 3)),
    Tiling((3, 4), (2, 2), (0, 0)),
    Tiling((1, 1), (1, 1), (1, 1)),
]


def visible(grid, reach):
    """[tokens, tokens]: the definition, one pair at a time."""
    places = list(itertools.product(range(grid[0]), range(grid[1])))
    near = [[abs(a - c) <= reach and abs(b - d) <= reach for c, d in places] for a, b in places]
    return np.array(near)


def between(coordinates):
    centres = jnp.asarray(coordinates.centres)
    return centres[None] - centres[:, None]


def variant(name):
    """An encoding whose parameters are far from where they start, which may be where they do nothing."""
    positions = POSITIONS[name](Shape(HEADS * HEAD_DIM, HEADS, TRAINED), rngs=nnx.Rngs(0))
    definition, params, rest = nnx.split(positions, nnx.Param, ...)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.float32(leaf + 0.3 * rng.normal(size=leaf.shape)), params)
    return (lambda params: nnx.merge(definition, params, rest)), params


def inputs(tokens, number=4):
    return np.random.default_rng(2).normal(size=(number, HEADS, BATCH, tokens, HEAD_DIM)).astype(np.float32)


def dense(reach):
    """Full attention under a mask: what a window means."""

    def attention(q, k, v, positions, coordinates):
        scores = positions.scores(q, k, between(coordinates))
        logits = scores if q is None else jnp.einsum('hbqd,hbkd->hbqk', q, k) + scores
        weights = jax.nn.softmax(jnp.where(visible(coordinates.grid, reach), logits, -jnp.inf))
        return jnp.einsum('hbqk,hbkd->hbqd', jnp.broadcast_to(weights, (*v.shape[:3], v.shape[2])), v), weights

    return attention


def in_blocks(tiling):
    return lambda *arguments: attend_in_blocks(*arguments, tiling)


def windowed(window):
    return lambda *arguments: attend(*arguments, window)


def results(ways, name, coordinates, content=True):
    """Of each way to attend: mixed tokens, weights, and gradients for the encoding's parameters, q, k and v."""
    q, k, v, direction = inputs(len(coordinates.centres))
    merge, params = variant(name)

    def result(attention):
        def loss(params, q, k, v):
            positions = merge(params)
            turned = positions.rotate(q / 4, k, coordinates) if content else (None, None)
            mixed, weights = attention(*turned, v, positions, coordinates)
            return jnp.vdot(mixed, direction), (mixed, weights)

        return jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(params, q, k, v)

    return jax.jit(lambda: [result(attention) for attention in ways])()


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for path, expected in jax.tree_util.tree_leaves_with_path(theirs):
        found = dict(jax.tree_util.tree_leaves_with_path(ours))[path]
        # A sum is as exact as what was added up: an element that nearly cancels is so to the array's largest.
        atol = 1e-5 * max(1.0, float(np.max(np.abs(expected))))
        np.testing.assert_allclose(found, expected, atol=atol, rtol=0, err_msg=str(path))


@pytest.mark.parametrize('tiling', TILINGS, ids=str)
def test_blocks_hold_every_token_and_the_keys_in_its_window(tiling):
    grid, tokens = tiling.grid, math.prod(tiling.grid)
    numbers = np.arange(1, tokens + 1, dtype=np.float32)[:, None]

    @jax.jit
    def blocks(numbers):
        queries, keys = windows.query_blocks(numbers, tiling), windows.key_blocks(numbers, tiling)
        return queries, keys, windows.join_blocks(queries, tiling)

    queries, keys, joined = map(np.asarray, blocks(numbers))
    np.testing.assert_array_equal(joined, numbers)
    near, inside = windows.block_masks(tiling)
    seen = np.zeros((tokens + 1, tokens + 1), int)
    pairs = np.broadcast_arrays(queries, keys[..., 0][:, None], near & inside)
    for query, key, sees in np.stack(pairs).reshape(3, -1).T.astype(int):
        seen[query, key] += sees
    np.testing.assert_array_equal(seen[1:, 1:], visible(grid, tiling.reach[0]))
    assert not seen[1:, 0].any()  # nothing beyond the grid is seen


@pytest.mark.parametrize('grid', [(1, 9), (9, 1), (4, 6), (1, 1), (30, 20)])
@pytest.mark.parametrize('window', [1, 2, 3, 7])
def test_neighbours_are_the_tokens_up_to_half_a_window_away(grid, window):
    np.testing.assert_array_equal(windows.neighbours(grid, window), visible(grid, window // 2))


@pytest.mark.parametrize(
    ('grid', 'window'), [((1, 2000), 128), ((1, 1000), 8), ((1, 997), 64), ((32, 32), 3), ((50, 41), 7), ((900, 1), 9)]
)
def test_many_tokens_are_cut_into_blocks_that_cover_them(grid, window):
    tiling = windows.plan(grid, window)
    for size, block, count in zip(grid, tiling.block, tiling.count, strict=True):
        assert size <= block * count < size + block
    logits = np.prod(tiling.count) * np.prod(tiling.block) * np.prod(tiling.span)
    smallest = np.prod([size * min(window, size) for size in grid])
    assert logits < 6 * smallest
    assert logits < np.prod(grid) ** 2 / 4


@pytest.mark.parametrize(
    ('grid', 'window'), [((4, 4), 3), ((7, 7), 3), ((7, 7), 5), ((1, 64), 7), ((1, 64), 3), ((1, 256), 128)]
)
def test_few_tokens_are_not_cut(grid, window):
    assert windows.plan(grid, window) is None


@pytest.mark.parametrize('tiling', [Tiling((7, 5), (3, 2), (1, 1)), Tiling((1, 23), (1, 5), (3, 3))], ids=str)
@pytest.mark.parametrize('name', ACTING)
def test_blocks_equal_full_attention_under_a_mask(name, tiling):
    coordinates = grid_coordinates(tiling.grid, TRAINED)
    assert_same(*results([in_blocks(tiling), dense(tiling.reach[0])], name, coordinates))


@pytest.mark.parametrize('name', [name for name in ACTING if POSITIONS[name].scores_content_free])
def test_blocks_equal_full_attention_by_position_alone(name):
    tiling = Tiling((7, 5), (3, 2), (1, 1))
    assert_same(*results([in_blocks(tiling), dense(1)], name, grid_coordinates((7, 5), TRAINED), content=False))


@pytest.mark.parametrize(
    ('grid', 'window'), [((1, 200), 12), ((16, 16), 3), ((1, 60), 20), ((6, 5), 3), ((5, 1), 4), ((2, 3), 1)]
)
def test_attention_within_a_window_equals_full_attention_under_a_mask(grid, window):
    coordinates = grid_coordinates(grid, TRAINED)
    ours, theirs = results([windowed(window), dense(window // 2)], 'alibi_2d', coordinates)
    assert_same(ours, theirs)
    (_, (_, weights)), _ = ours
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert not weights[..., ~visible(grid, window // 2)].any()


@pytest.mark.parametrize('name', ['relative_bias', 'relative_vectors', 'rope_mixed'])
@pytest.mark.parametrize('traced', [False, True], ids=['known', 'traced'])
def test_permuted_tokens_keep_their_windows(name, traced):
    """The tokens in another order, their coordinates with them: the same result in that order."""
    grid, window = (1, 200), 12
    assert windows.plan(grid, window)
    plain = grid_coordinates(grid, TRAINED, 'rescale')  # angles stay small: those of float32 are exact near zero alone
    merge, params = variant(name)
    order = np.random.default_rng(0).permutation(200)
    moved = Coordinates(plain.centres[order], plain.order[order], grid)

    def attention(x, coordinates):
        positions = merge(params)
        return attend(*positions.rotate(x[0] / 4, x[1], coordinates), x[2], positions, coordinates, window)

    @jax.jit
    def both(x, later):
        return attention(x, plain), attention(x[:, :, :, order], later if traced else moved)

    (mixed, weights), (moved_mixed, moved_weights) = both(inputs(200, 3), moved)
    np.testing.assert_allclose(moved_mixed, mixed[:, :, order], atol=1e-5)
    np.testing.assert_allclose(moved_weights, weights[:, :, order][..., order], atol=1e-5)


def moved(coordinates, spread):
    away = np.random.default_rng(0).normal(0, spread, coordinates.centres.shape)
    return coordinates.replace(centres=coordinates.centres + np.float32(away))


@pytest.mark.parametrize(
    ('name', 'spacing'), [('relative_bias', 'rescale'), ('relative_bias', 'uneven'), ('relative_vectors', 'uneven')]
)
def test_scores_follow_the_coordinates(name, spacing):
    coordinates = grid_coordinates((7, 5), TRAINED, 'rescale' if spacing == 'rescale' else 'extend')
    if spacing == 'uneven':
        coordinates = moved(coordinates, 0.3)
    tiling = Tiling((7, 5), (3, 2), (1, 1))
    assert_same(*results([in_blocks(tiling), dense(1)], name, coordinates))


@pytest.mark.parametrize(('spread', 'different'), [(0, 1), (1e-4, 9)])
@pytest.mark.parametrize('policy', ['extend', 'rescale'])
def test_blocks_share_their_offsets_where_tokens_are_evenly_spaced(policy, spread, different):
    coordinates = moved(grid_coordinates((7, 5), TRAINED, policy), spread)
    assert len(windows.block_offsets(coordinates, Tiling((7, 5), (3, 2), (1, 1)))) == different


def attended(x, grid, *widths, name='none'):
    """Mixed tokens and weights within windows of several widths."""
    merge, params = variant(name)
    coordinates = grid_coordinates(grid, TRAINED)
    return jax.jit(lambda x: [attend(x[0] / 4, x[1], x[2], merge(params), coordinates, width) for width in widths])(x)


@pytest.mark.parametrize(('grid', 'window'), [((1, 9), 17), ((3, 4), 7), ((1, 1), 1)])
def test_a_window_beyond_the_grid_is_none(grid, window):
    ours, theirs = attended(inputs(math.prod(grid), 3), grid, window, None, name='relative_bias')
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize('grid', [(1, 300), (3, 3)])
def test_a_window_of_one_token_is_no_attention(grid):
    x = inputs(math.prod(grid), 3)
    [(mixed, _)] = attended(x, grid, 1)
    np.testing.assert_array_equal(mixed, x[2])


def test_tokens_beyond_the_window_do_not_matter_however_large():
    x = inputs(200, 3)
    far = x.copy()
    far[1:, :, :, 100:] *= 1e4
    [(ours, _)], [(theirs, _)] = (attended(tokens, (1, 200), 12) for tokens in (far, x))
    np.testing.assert_allclose(ours[:, :, :94], theirs[:, :, :94], atol=1e-6)
    assert np.abs(ours[:, :, 94] - theirs[:, :, 94]).max() > 1


@pytest.mark.parametrize('name', ['none', 'relative_vectors'])
def test_bfloat16_is_close_to_float32(name):
    x = inputs(200, 3)
    [(wide, _)], [(narrow, _)] = (attended(tokens, (1, 200), 12, name=name) for tokens in (x, jnp.bfloat16(x)))
    assert narrow.dtype == jnp.bfloat16
    difference = np.abs(np.float32(narrow) - wide)
    assert difference.max() < 0.1
    assert difference.mean() < 0.01


def test_a_model_with_a_window_captures_weights_that_end_there(built, images):
    model, params = built(window=3, patch_size=1, depth=1)
    apply = jax.jit(lambda images: model.apply(params, images, capture=('attention',)).captured['attention'])
    [weights] = map(np.asarray, apply(images))
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert not weights[..., ~visible((8, 8), 1)].any()
    assert weights[..., visible((8, 8), 1)].all()


def memory(tokens, attention):
    coordinates = grid_coordinates((1, tokens))
    merge, params = variant('none')
    x = jax.ShapeDtypeStruct((HEADS, 1, tokens, HEAD_DIM), jnp.float32)

    def loss(q, k, v):
        return jnp.sum(jnp.sin(attention(q, k, v, merge(params), coordinates)[0]))

    return peak_memory_bytes(jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile())


def test_memory_grows_with_the_tokens_and_not_their_square():
    small, large = (memory(tokens, windowed(128)) for tokens in (2048, 4096))
    assert large < 2.2 * small
    assert 10 * large < memory(4096, windowed(None))
