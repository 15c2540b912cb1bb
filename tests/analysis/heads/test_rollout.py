import numpy as np

from analysis.heads.rollout import pooled_rollout, rollout

TOKENS = 5


def looking_at(keys):
    return np.eye(TOKENS)[np.asarray(keys)]


def test_one_layer_is_half_the_residual_branch_and_half_the_mean_head():
    heads = np.stack([looking_at([1, 2, 3, 4, 4]), looking_at([0, 0, 0, 0, 0])])
    expected = np.eye(TOKENS) / 2 + heads.mean(0) / 2
    np.testing.assert_allclose(rollout(heads[None])[0], expected)


def test_layers_multiply_the_last_one_first():
    """Token 0 reads 1 in the second layer, which had read 2 in the first: a quarter of it came from there."""
    first, second = looking_at([0, 2, 2, 3, 4]), looking_at([1, 1, 2, 3, 4])
    after = rollout(np.stack([first, second])[:, None])[-1]
    np.testing.assert_allclose(after[0], [0.5, 0.25, 0.25, 0, 0])
    np.testing.assert_allclose(after[2], np.eye(TOKENS)[2])


def test_whatever_the_weights_every_image_and_layer_sums_to_one():
    weights = np.random.default_rng(0).dirichlet(np.full(TOKENS, 0.3), size=(3, 2, 4, TOKENS))
    np.testing.assert_allclose(rollout(weights).sum(-1), 1)
    pooled = pooled_rollout(weights)
    assert pooled.shape == (3, 4, TOKENS)
    np.testing.assert_allclose(pooled, rollout(weights).mean(-2))
    # Images do not meet.
    np.testing.assert_allclose(pooled[:, 1], pooled_rollout(weights[:, :, 1]))
