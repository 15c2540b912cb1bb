"""Softmax, products and heads of attention, with gradients that are cheap; the tests hold them to plain forms."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from models.positions.base import Heads


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def softmax(logits: Float[Array, '... keys'], dtype: DTypeLike = np.float32) -> Float[Array, '... keys']:
    """exp(logits) over their sum along the last axis; computed in float32, whatever it returns as.

    With a derivative of its own, in terms of the result alone, as it is returned: jax.nn.softmax keeps two arrays of
    the size of the logits for the backward pass, which took a third more memory and a fifth more time for 196 tokens,
    and more for more.
    """
    return _softmax_forward(logits, dtype)[0]


def _softmax_forward(
    logits: Float[Array, '*lead keys'], dtype: DTypeLike
) -> tuple[Float[Array, '*lead keys'], Float[Array, '*lead keys']]:
    exponentials = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    weights = (exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)).astype(dtype)
    return weights, weights


def _softmax_backward(
    dtype: DTypeLike, weights: Float[Array, '*lead keys'], gradient: Float[Array, '*lead keys']
) -> tuple[Float[Array, '*lead keys']]:
    # Of weights as they were kept: rounded, in bfloat16, which makes its gradients' own error larger by up to a half.
    weights, gradient = weights.astype(jnp.float32), gradient.astype(jnp.float32)
    return (weights * (gradient - jnp.sum(weights * gradient, axis=-1, keepdims=True)),)


softmax.defvjp(_softmax_forward, _softmax_backward)


@jax.custom_vjp
def products(
    q: Float[Array, '*lead queries dim'], k: Float[Array, '*lead keys dim']
) -> Float[Array, '*lead queries keys']:
    """q k^T, in float32."""
    return jnp.einsum('...qd,...kd->...qk', q, k, preferred_element_type=jnp.float32)


def _products_backward(saved, gradient):
    q, k = saved
    gradient = gradient.astype(q.dtype)
    return jnp.einsum('...qk,...kd->...qd', gradient, k), _transposed_times(gradient, q)


products.defvjp(lambda q, k: (products(q, k), (q, k)), _products_backward)


@jax.custom_vjp
def mixture(
    weights: Float[Array, '*lead queries keys'], v: Float[Array, '*lead keys dim']
) -> Float[Array, '*lead queries dim']:
    """weights v."""
    return jnp.einsum('...qk,...kd->...qd', weights, v)


def _mixture_backward(saved, gradient):
    weights, v = saved
    return jnp.einsum('...qd,...kd->...qk', gradient, v), _transposed_times(weights, gradient)


mixture.defvjp(lambda weights, v: (mixture(weights, v), (weights, v)), _mixture_backward)


def _transposed_times(
    weights: Float[Array, '*lead queries keys'], x: Float[Array, '*lead queries dim']
) -> Float[Array, '*lead keys dim']:
    """weights^T x; on a CPU as (x^T weights)^T, since x is the smaller of the two to turn around.

    Its small products are slow where the first factor is to be turned (benchmarks/NOTES.md); without the barriers XLA
    would turn it all the same.
    """
    if jax.default_backend() != 'cpu':
        return jnp.einsum('...qk,...qd->...kd', weights, x)
    turned = jax.lax.optimization_barrier(jnp.swapaxes(x, -1, -2))
    return jnp.swapaxes(jax.lax.optimization_barrier(jnp.einsum('...dq,...qk->...dk', turned, weights)), -1, -2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def split_heads(x: Float[Array, 'batch tokens channels'], num_heads: int, head_dim: int) -> tuple[Heads, ...]:
    """The parts of the channels that belong to queries, keys and values, or to values alone, each by heads.

    With a gradient that puts the parts side by side: that of slices, as XLA makes it, adds up padded ones element by
    element.
    """
    parts = x.reshape(*x.shape[:2], -1, num_heads, head_dim)
    return tuple(parts.transpose(2, 3, 0, 1, 4))


def join_heads(
    parts: Sequence[Heads],
) -> Float[Array, 'batch tokens channels']:
    """The reverse: each part's heads side by side, and the parts too."""
    return jnp.concatenate([part.transpose(1, 2, 0, 3).reshape(*part.shape[1:3], -1) for part in parts], axis=-1)


split_heads.defvjp(
    lambda x, num_heads, head_dim: (split_heads(x, num_heads, head_dim), None),
    lambda num_heads, head_dim, saved, parts: (join_heads(parts),),
)
