"""The dense layer, the norms and the activation of the models, in forms whose gradients are cheap.

XLA recomputes a forward's elementwise work in its backward pass, on the CPU with one thread. Saving what the backward
needs (the normalised input, GELU's derivative) once costs memory and saves that time; the mathematics is unchanged,
and the tests hold it equal to flax's own layers.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Image = Float[Array, 'batch height width channels']
ByImage = Float[Array, 'batch channels']
ByChannel = Float[Array, 'channels']


@jax.custom_vjp
def gelu(x: Float[Array, '...']) -> Float[Array, '...']:
    """x Phi(x), in its tanh form (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2)."""
    return _gelu_and_derivative(x)[0]


def _gelu_and_derivative(x: Float[Array, '*shape']) -> tuple[Float[Array, '*shape'], Float[Array, '*shape']]:
    slope = (2 / jnp.pi) ** 0.5
    square = x * x
    tanh = jnp.tanh(slope * x * (1 + 0.044715 * square))
    cdf = 0.5 * (1 + tanh)
    return x * cdf, cdf + 0.5 * x * (1 - tanh * tanh) * slope * (1 + 3 * 0.044715 * square)


def _gelu_forward(x: Float[Array, '*shape']) -> tuple[Float[Array, '*shape'], Float[Array, '*shape']]:
    # An accelerator waits for its memory: rather than write the derivative down it computes it once more.
    value, derivative = _gelu_and_derivative(x)
    return value, derivative if jax.default_backend() == 'cpu' else x


def _gelu_backward(saved: Float[Array, '*shape'], gradient: Float[Array, '*shape']) -> tuple[Array]:
    if jax.default_backend() != 'cpu':
        # Without the barrier XLA finds the forward pass's tanh to be the same, and writes that down.
        saved = _gelu_and_derivative(jax.lax.optimization_barrier(saved))[1]
    return (gradient * saved,)


gelu.defvjp(_gelu_forward, _gelu_backward)


@jax.custom_vjp
def layer_norm(
    x: Float[Array, '... embed'], scale: Float[Array, 'embed'], bias: Float[Array, 'embed']
) -> Float[Array, '... embed']:
    """Zero mean and unit variance over the last axis, then scale and bias (Ba et al. 2016, arXiv:1607.06450, eq. 4).

    Statistics are float32 whatever the type of `x`.
    """
    return _layer_norm_forward(x, scale, bias)[0]


EPSILON = 1e-6


def _layer_norm_forward(
    x: Float[Array, '*lead embed'], scale: Float[Array, 'embed'], bias: Float[Array, 'embed']
) -> tuple[
    Float[Array, '*lead embed'], tuple[Float[Array, '*lead embed'], Float[Array, '*lead 1'], Float[Array, 'embed']]
]:
    wide = x.astype(jnp.float32)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON)
    normalised = centred * inverse
    # What the backward pass keeps is as large as the compute type has it.
    return (normalised * scale + bias).astype(x.dtype), (normalised.astype(x.dtype), inverse, scale)


def _layer_norm_backward(
    saved: tuple[Float[Array, '*lead embed'], Float[Array, '*lead 1'], Float[Array, 'embed']],
    gradient: Float[Array, '*lead embed'],
) -> tuple[Float[Array, '*lead embed'], Float[Array, 'embed'], Float[Array, 'embed']]:
    normalised, inverse, scale = saved
    # Rows of one matrix: a broadcast of another shape than the forward pass's is not shared with it, so that each is
    # part of what it feeds rather than an array of its own.
    flat = gradient.reshape(-1, gradient.shape[-1])
    normalised, inverse = normalised.reshape(flat.shape).astype(jnp.float32), inverse.reshape(-1, 1)
    wide = flat.astype(jnp.float32)
    inner = wide * scale
    mean = jnp.mean(inner, axis=-1, keepdims=True)
    along = jnp.mean(inner * normalised, axis=-1, keepdims=True)
    to_input = (inverse * (inner - mean - normalised * along)).astype(gradient.dtype)
    return to_input.reshape(gradient.shape), jnp.sum(wide * normalised, axis=0), jnp.sum(wide, axis=0)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def group_norm(x: Image, scale: ByChannel, bias: ByChannel, groups: int) -> Image:
    """Zero mean and unit variance over an image and the channels of a group (Wu & He 2018, arXiv:1803.08494, eq. 1-6).

    Then scale and bias. Statistics are float32 whatever the type of `x`. The variance is E[x^2] - E[x]^2, one pass over
    the image, as by flax's default, and cancels where the mean is large: of groups of 1,024 and 16,384 normal numbers,
    on a CPU, the result's deviation was within 2% of 1 with a mean of 300 deviations, within a fifth with 1,000, and
    anything with 3,000.
    """
    return _group_norm_forward(x, scale, bias, groups)[0]


# Sums are taken over the image first and over the channels of a group then, and what multiplies and shifts a pixel is
# worked out once for each channel: so all that touches pixels runs along their channels.
def _group_norm_forward(
    x: Image, scale: ByChannel, bias: ByChannel, groups: int
) -> tuple[Image, tuple[Image, ByImage, ByImage, ByChannel]]:
    wide = x.astype(jnp.float32)
    mean = _group_mean(jnp.mean(wide, axis=(1, 2)), groups)
    square = _group_mean(jnp.mean(wide * wide, axis=(1, 2)), groups)
    inverse = jax.lax.rsqrt(jnp.maximum(square - mean * mean, 0) + EPSILON)
    slope = inverse * scale
    return _linear(wide, slope, bias - mean * slope).astype(x.dtype), (x, mean, inverse, scale)


def _group_norm_backward(
    groups: int, saved: tuple[Image, ByImage, ByImage, ByChannel], gradient: Image
) -> tuple[Image, ByChannel, ByChannel]:
    x, mean, inverse, scale = saved
    x, wide = x.astype(jnp.float32), gradient.astype(jnp.float32)
    along = jnp.sum(wide, axis=(1, 2)), jnp.sum(wide * x, axis=(1, 2))
    to_bias, to_scale = along[0], (along[1] - mean * along[0]) * inverse
    pixels = x.shape[1] * x.shape[2]
    shared, slanted = (_group_mean(total * scale / pixels, groups) for total in (to_bias, to_scale))
    # inverse * (wide * scale - shared - normalised * slanted), as a polynomial of the pixels.
    bend = inverse * inverse * slanted
    to_x = wide * (inverse * scale)[:, None, None] - _linear(x, bend, inverse * shared - mean * bend)
    return to_x.astype(gradient.dtype), jnp.sum(to_scale, axis=0), jnp.sum(to_bias, axis=0)


def _group_mean(x: ByImage, groups: int) -> ByImage:
    """Of every channel, the mean over the channels of its group."""
    mean = jnp.mean(x.reshape(len(x), groups, -1), axis=-1)
    return jnp.repeat(mean, x.shape[-1] // groups, axis=-1)


def _linear(x: Image, slope: ByImage, shift: ByImage) -> Image:
    return x * slope[:, None, None] + shift[:, None, None]


group_norm.defvjp(_group_norm_forward, _group_norm_backward)


class GroupNorm(nnx.Module):
    """`group_norm` with its scale, which starts as `initial`, and bias."""

    def __init__(self, channels: int, groups: int, initial: float = 1.0):
        self.groups = groups
        self.scale = nnx.Param(jnp.full(channels, initial))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Image) -> Image:
        return group_norm(x, self.scale[...], self.bias[...], self.groups)


class LayerNorm(nnx.Module):
    """`layer_norm` with its scale and bias."""

    def __init__(self, embed_dim: int):
        self.scale = nnx.Param(jnp.ones(embed_dim))
        self.bias = nnx.Param(jnp.zeros(embed_dim))

    def __call__(self, x: Float[Array, '... embed']) -> Float[Array, '... embed']:
        return layer_norm(x, self.scale[...], self.bias[...])


@jax.custom_vjp
def product(x: Float[Array, 'rows inputs'], kernel: Float[Array, 'inputs outputs']) -> Float[Array, 'rows outputs']:
    """x kernel."""
    return x @ kernel


def _product_backward(
    saved: tuple[Float[Array, 'rows inputs'], Float[Array, 'inputs outputs']], gradient: Float[Array, 'rows outputs']
) -> tuple[Float[Array, 'rows inputs'], Float[Array, 'inputs outputs']]:
    x, kernel = saved
    if x.shape[1] > gradient.shape[1] and jax.default_backend() == 'cpu':
        # The CPU's products are slow where the first factor is to be turned, and slower the larger it is
        # (benchmarks/NOTES.md). Without the barrier XLA would turn x all the same.
        to_kernel = jax.lax.optimization_barrier(gradient.T @ x).T
    else:
        to_kernel = x.T @ gradient
    return gradient @ kernel.T, to_kernel


product.defvjp(lambda x, kernel: (product(x, kernel), (x, kernel)), _product_backward)


class Dense(nnx.Linear):
    """A linear layer over the last axis, as one two-dimensional product."""

    def __call__(self, x: Float[Array, '... inputs']) -> Float[Array, '... outputs']:
        rows = x.reshape(-1, x.shape[-1])
        rows, kernel, bias = self.promote_dtype((rows, self.kernel[...], self.bias[...]), dtype=self.dtype)
        return (product(rows, kernel) + bias).reshape(*x.shape[:-1], -1)
