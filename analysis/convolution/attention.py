"""The construction: a kernel as the places and the maps of K^2 heads, and what they make of images."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.attention import attend
from models.patches import grid_coordinates
from models.positions import POSITIONS, Positions, Shape

Kernel = Float[Array | np.ndarray, 'size size inputs outputs']  # flax's layout; size is odd
Bias = Float[Array | np.ndarray, 'outputs']
Sharpness = float | Float[Array, '']
Images = Float[Array | np.ndarray, 'batch rows columns inputs']


class ConvolutionalAttention(NamedTuple):
    """Content-free attention that computes a convolution: no queries, no keys, and per head a place and two maps."""

    positions: Positions  # 'gaussian'
    values: Float[Array, 'heads inputs head_dim']
    outputs: Float[Array, 'heads head_dim outputs']
    bias: Float[Array, 'outputs']


def attention_from_convolution(kernel: Kernel, bias: Bias, sharpness: Sharpness) -> ConvolutionalAttention:
    """The attention of K^2 heads that is the K x K convolution, in the limit of great `sharpness`.

    Cordonnier et al. 2020 (arXiv:1911.03584): by lemma 1 a convolution is a sum of heads that look at one offset each
    and apply its matrix of the kernel, here split into the values' map and the outputs' (one is the identity); by
    lemma 2 such heads are softmaxes of -sharpness / 2 |offset - centre|^2, with their alpha = sharpness / 2. A token
    that is one patch further from the centre gets exp(-sharpness / 2) of the weight or less.

    Raises:
      ValueError: the kernel has no centre.
    """
    size, _, inputs, outputs = kernel.shape
    if size % 2 == 0:
        raise ValueError(f'kernel of {size} x {size}: an odd size has a centre')
    heads, head_dim = size**2, min(inputs, outputs)
    positions = POSITIONS['gaussian'](Shape(heads * head_dim, heads, (size, size)), rngs=nnx.Rngs(0))
    positions.centres[...] = jnp.asarray(np.indices((size, size)).reshape(2, -1).T - size // 2, jnp.float32)
    positions.spreads[...] = jnp.broadcast_to(jnp.sqrt(sharpness) * jnp.eye(2), (heads, 2, 2))
    matrices = jnp.asarray(kernel).reshape(heads, inputs, outputs)
    identity = jnp.broadcast_to(jnp.eye(head_dim), (heads, head_dim, head_dim))
    values, output_maps = (identity, matrices) if inputs <= outputs else (matrices, identity)
    return ConvolutionalAttention(positions, values, output_maps, jnp.asarray(bias))


def attend_to_images(
    attention: ConvolutionalAttention, images: Images, zeros: int = 0
) -> Float[Array, 'batch rows columns outputs']:
    """What the attention makes of images of tokens, first surrounded by `zeros` rows and columns of zero tokens."""
    images = jnp.pad(images, ((0, 0), (zeros, zeros), (zeros, zeros), (0, 0)))
    batch, rows, columns, inputs = images.shape
    v = jnp.einsum('btc,hcd->hbtd', images.reshape(batch, -1, inputs), attention.values)
    mixed, _ = attend(None, None, v, attention.positions, grid_coordinates((rows, columns)))
    mixed = jnp.einsum('hbtd,hdo->bto', mixed, attention.outputs) + attention.bias
    return mixed.reshape(batch, rows, columns, -1)[:, zeros : rows - zeros, zeros : columns - zeros]
