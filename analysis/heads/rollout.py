"""Attention rollout: which patches an output came from, through all layers."""

import numpy as np
from jaxtyping import Array, Float


def rollout(
    weights: Float[Array | np.ndarray, 'layers heads *batch tokens tokens'],
) -> Float[np.ndarray, 'layers *batch tokens tokens']:
    """Of each token after each layer, the share that came from each patch; rows sum to 1.

    Abnar & Zuidema 2020 (arXiv:2005.00928), section 3.1: layers mix by A = (W + I) / 2, W the mean over heads and I
    the residual branch, and A_layer ... A_1 is how they do one after the other. It knows of attention alone: not what
    the values hold, nor what an MLP, or a convolution between blocks, makes of them.
    """
    mixing = np.mean(np.asarray(weights, np.float64), axis=1)
    mixing = (mixing / mixing.sum(-1, keepdims=True) + np.eye(mixing.shape[-1])) / 2
    steps = [mixing[0]]
    for layer in mixing[1:]:
        steps.append(layer @ steps[-1])
    return np.stack(steps)


def pooled_rollout(
    weights: Float[Array | np.ndarray, 'layers heads *batch tokens tokens'],
) -> Float[np.ndarray, 'layers *batch tokens']:
    """`rollout` of the pooled output, the mean over tokens, as if pooled after each layer; sums to 1."""
    return rollout(weights).mean(axis=-2)
