import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from analysis.heads.metrics import attention_distance, attention_entropy, head_statistics, largest_entropy

GRID, TOKENS, PATCH = (4, 5), 20, 3
PLACES = np.indices(GRID).reshape(2, -1).T


def looking_at(offset):
    """A head that looks at one offset, or where that is outside the grid at the nearest token; of two images."""
    keys = np.clip(PLACES + offset, 0, np.array(GRID) - 1) @ (GRID[1], 1)
    return np.broadcast_to(np.eye(TOKENS, dtype=np.float32)[keys], (2, TOKENS, TOKENS))


def by_content(images=2, seed=0):
    """A head that looks at few tokens, at others in every image and from every query."""
    draws = np.random.default_rng(seed)
    return draws.dirichlet(np.full(TOKENS, 0.1), size=(images, TOKENS)).astype(np.float32)


def statistics(weights, cuts=(), window=None):
    """`head_statistics` of weights [layers, heads, images, tokens, tokens] in batches that end at `cuts`."""
    return head_statistics(lambda: iter(np.split(np.asarray(weights), cuts, axis=2)), GRID, PATCH, window)


def test_distance_is_the_mean_over_keys_then_queries_and_images():
    weights = by_content()
    expected = np.mean([
        sum(weights[image, query, key] * np.hypot(*(PLACES[key] - PLACES[query])) for key in range(TOKENS))
        for image, query in np.ndindex(2, TOKENS)
    ])  # fmt: skip
    np.testing.assert_allclose(attention_distance(weights[None], GRID), [expected], rtol=1e-5)


def test_distance_of_one_offset_is_its_length_away_from_the_border():
    # A step to the right is 1 from four columns of five, and 0 from the last.
    np.testing.assert_allclose(attention_distance(looking_at((0, 1))[None], GRID), [4 / 5], rtol=1e-6)
    # Two down and one to the left, from where both stay inside: averaged over those queries alone.
    inside = (PLACES[:, 0] + 2 < GRID[0]) & (PLACES[:, 1] >= 1)
    weights = np.where(inside[:, None], looking_at((2, -1)), np.eye(TOKENS, dtype=np.float32))
    np.testing.assert_allclose(attention_distance(weights[None], GRID) / inside.mean(), [5**0.5], rtol=1e-6)


def test_entropy_counts_the_tokens_looked_at():
    three = np.zeros((1, 1, TOKENS, TOKENS), np.float32)
    three[..., :3] = 1 / 3
    np.testing.assert_allclose(attention_entropy(three), [np.log(3)], rtol=1e-6)
    # In a window of 3, the corners see 4 tokens, the other borders 6, the interior 9.
    expected = (4 * np.log(4) + 10 * np.log(6) + 6 * np.log(9)) / TOKENS
    assert largest_entropy(GRID, window=3) == pytest.approx(expected)


@pytest.mark.parametrize('offset', [(0, 0), (0, 1), (-1, -1), (2, -1)])
def test_a_head_that_looks_at_one_offset_is_one_fixed_pattern(offset):
    row = statistics(looking_at(offset)[None, None]).loc[0]
    assert row['entropy'] == 0
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    assert (row['offset_row'], row['offset_column']) == offset
    assert row['offset_weight'] == pytest.approx(1)
    assert row['uniform_share'] == pytest.approx(1 / TOKENS)
    assert row['distance_pixels'] == pytest.approx(PATCH * row['distance_patches'])


def test_uniform_attention_is_a_fixed_pattern_of_the_largest_entropy():
    row = statistics(np.full((1, 1, 2, TOKENS, TOKENS), 1 / TOKENS, np.float32)).loc[0]
    assert row['entropy'] == pytest.approx(np.log(TOKENS), rel=1e-5)
    assert row['entropy_ratio'] == pytest.approx(1, rel=1e-5)
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    assert row['uniform_share'] == pytest.approx(1, rel=1e-5)


def test_a_head_that_looks_by_content_is_none():
    row = statistics(by_content(images=64)[None, None]).loc[0]
    assert row['fixed_pattern_share'] < 0.35
    assert row['entropy_ratio'] < 0.5


def test_half_of_a_head_by_content_is_between():
    half = (looking_at((0, 1))[:1] + by_content(images=64)) / 2
    assert 0.5 < statistics(half[None, None]).loc[0, 'fixed_pattern_share'] < 0.75


def test_windowed_attention_is_measured_against_its_window():
    near = np.max(np.abs(PLACES[None] - PLACES[:, None]), axis=-1) <= 1
    weights = (near / near.sum(-1, keepdims=True)).astype(np.float32)
    row = statistics(weights[None, None, None], window=3).loc[0]
    assert row['entropy_ratio'] == pytest.approx(1, rel=1e-5)
    assert row['uniform_share'] == pytest.approx(1, rel=1e-5)
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    alone = statistics(np.eye(TOKENS, dtype=np.float32)[None, None, None], window=1).loc[0]
    assert np.isnan(alone['entropy_ratio'])


def test_batches_change_nothing_and_heads_only_move_rows():
    weights = np.stack([by_content(7, seed) for seed in range(6)]).reshape(2, 3, 7, TOKENS, TOKENS)
    whole = statistics(weights)
    assert whole[['layer', 'head']].to_numpy().tolist() == [[layer, head] for layer in (0, 1) for head in (0, 1, 2)]
    pd.testing.assert_frame_equal(statistics(weights, cuts=(2, 5)), whole, rtol=1e-5)
    moved = statistics(weights[:, [2, 0, 1]]).drop(columns='head')
    expected = whole.drop(columns='head').loc[[2, 0, 1, 5, 3, 4]].reset_index(drop=True)
    pd.testing.assert_frame_equal(moved, expected, rtol=1e-5)


def test_bfloat16_weights_mean_the_same():
    weights = by_content(4)[None, None]
    rounded = statistics(jnp.asarray(weights, jnp.bfloat16))
    pd.testing.assert_frame_equal(rounded, statistics(weights), rtol=0.01)


def test_the_strongest_offset_is_that_of_most_attention_not_of_a_corner():
    """One corner alone sees the other, and may look there with all its weight."""
    weights = 0.6 * looking_at((0, 1)) + 0.4 / TOKENS
    weights[:, 0] = np.eye(TOKENS)[-1]
    row = statistics(weights[None, None]).loc[0]
    assert (row['offset_row'], row['offset_column']) == (0, 1)
    assert 0.5 < row['offset_weight'] < 0.7
