"""Depthwise convolution as a sum of shifted images, an order of magnitude faster than XLA's own on the CPU.

XLA has plain loops there for a convolution of so many groups (benchmarks/NOTES.md). Sums are float32 whatever the type
of the images.
"""

import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Image = Float[Array, 'batch height width channels']
Kernel = Float[Array, 'rows columns 1 channels']
Shifted = Float[Array, 'batch new_height new_width channels']  # smaller by the kernel's size, less one and the pads
Pads = Sequence[tuple[int, int]]  # zeros before and after the rows, and the columns


def depthwise(x: Image, kernel: Kernel, pads: Pads) -> Shifted:
    """The cross-correlation of each channel with its own kernel, of stride 1."""
    weights = kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1])
    return sum(map(jnp.multiply, _shifts(x, kernel.shape[:2], pads), weights)).astype(x.dtype)


def to_image(gradient: Shifted, kernel: Kernel, pads: Pads) -> Image:
    """The gradient of `depthwise` with respect to the image."""
    turned = [(size - 1 - low, size - 1 - high) for size, (low, high) in zip(kernel.shape[:2], pads, strict=True)]
    return depthwise(gradient, kernel[::-1, ::-1], turned)


def to_kernel(x: Image, gradient: Shifted, sizes: Sequence[int], pads: Pads) -> Kernel:
    """The gradient of `depthwise` with respect to a kernel of these rows and columns."""
    wide = gradient.astype(jnp.float32)
    sums = [jnp.sum(shift * wide, axis=(0, 1, 2)) for shift in _shifts(x, sizes, pads)]
    return jnp.stack(sums).reshape(*sizes, 1, -1).astype(x.dtype)


def _shifts(x: Image, sizes: Sequence[int], pads: Pads) -> Iterator[Shifted]:
    """What each tap of a kernel reads, row by row.

    Of an image padded once: without the barrier XLA would work out what made it anew for each tap.
    """
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)])
    padded = jax.lax.optimization_barrier(padded).astype(jnp.float32)
    height, width = (side - size + 1 for side, size in zip(padded.shape[1:3], sizes, strict=True))
    for row, column in itertools.product(*map(range, sizes)):
        yield padded[:, row : row + height, column : column + width]
