"""The dense layer, the norm and the activation of the backbone, in forms whose gradients are cheap.

XLA recomputes a forward's elementwise work in its backward pass, on the CPU with one thread. Saving what the backward
needs (the normalised input, GELU's derivative) once costs memory and saves that time; the mathematics is unchanged,
and the tests hold it equal to flax's own layers.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


@jax.custom_vjp
def gelu(x: Float[Array, '...']) -> Float[Array, '...']:
    """x Phi(x), in its tanh form (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2)."""
    return _gelu_and_derivative(x)[0]


def _gelu_and_derivative(x):
    slope = (2 / jnp.pi) ** 0.5
    square = x * x
    tanh = jnp.tanh(slope * x * (1 + 0.044715 * square))
    cdf = 0.5 * (1 + tanh)
    return x * cdf, cdf + 0.5 * x * (1 - tanh * tanh) * slope * (1 + 3 * 0.044715 * square)


def _gelu_backward(derivative, gradient):
    return (gradient * derivative,)


gelu.defvjp(_gelu_and_derivative, _gelu_backward)


@jax.custom_vjp
def layer_norm(
    x: Float[Array, '... embed'], scale: Float[Array, 'embed'], bias: Float[Array, 'embed']
) -> Float[Array, '... embed']:
    """Zero mean and unit variance over the last axis, then scale and bias (Ba et al. 2016, arXiv:1607.06450, eq. 4).

    Statistics are float32 whatever the type of `x`.
    """
    return _layer_norm_forward(x, scale, bias)[0]


EPSILON = 1e-6


def _layer_norm_forward(x, scale, bias):
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON)
    normalised = centred * inverse
    return (normalised * scale + bias).astype(x.dtype), (normalised, inverse, scale)


def _layer_norm_backward(saved, gradient):
    normalised, inverse, scale = saved
    wide = gradient.astype(jnp.float32)
    axes = tuple(range(wide.ndim - 1))
    inner = wide * scale
    mean = jnp.mean(inner, axis=-1, keepdims=True)
    along = jnp.mean(inner * normalised, axis=-1, keepdims=True)
    to_input = inverse * (inner - mean - normalised * along)
    return to_input.astype(gradient.dtype), jnp.sum(wide * normalised, axis=axes), jnp.sum(wide, axis=axes)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


class LayerNorm(nnx.Module):
    """`layer_norm` with its scale and bias."""

    def __init__(self, embed_dim: int):
        self.scale = nnx.Param(jnp.ones(embed_dim))
        self.bias = nnx.Param(jnp.zeros(embed_dim))

    def __call__(self, x: Float[Array, '... embed']) -> Float[Array, '... embed']:
        return layer_norm(x, self.scale[...], self.bias[...])


class Dense(nnx.Linear):
    """A linear layer over the last axis, as one two-dimensional product."""

    def __call__(self, x: Float[Array, '... inputs']) -> Float[Array, '... outputs']:
        return super().__call__(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)
