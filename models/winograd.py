"""Winograd's minimal filtering: a convolution of stride 1 with a half to a quarter of the multiplications.

Lavin & Gray 2016 (arXiv:1509.09308). The image is cut into overlapping tiles, each of which makes the outputs in its
middle. Tiles and kernels, as polynomials, are evaluated at a few points (Toom & Cook); at each pair of points a matrix
product over the channels multiplies them; and the outputs are interpolated.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Image = Float[Array, 'batch height width inputs']
Kernel = Float[Array, 'rows columns inputs outputs']
Convolved = Float[Array, 'batch new_height new_width outputs']  # smaller by the kernel's size, less one and the pads
Pixels = Float[Array, 'batch any_height any_width channels']  # of an image, or of what it was convolved to
Values = Float[Array, 'pairs tiles channels']  # at each pair of points, of the tiles of all images
Matrix = Float[np.ndarray, 'points tiles pixels']  # of one axis: what evaluates pixels at the points, tile by tile

# By the side of a tile, which has one more: infinity. Those of 6 round least when they are symmetric and near 1: with
# 3 taps outputs are 4 times as far off as a convolution's, by 0, +-1 and +-2 8 times, and in tiles of 4 pixels 1.4.
POINTS = {4: (0.0, 1.0, -1.0), 6: (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))}

# How many multiplications of the large products take as long as one that makes a kernel's values, which are many and
# used once; and as moving a value, which axes that are evaluated one by one do in between. With them the counts below
# tell times on a core of an Intel Xeon, mostly within a seventh. Two cores share large products better than many small
# ones, so there is to be a gain of a quarter.
KERNEL, MOVE, GAIN = 5, 40, 1.25


class Axis(NamedTuple):
    """One of the two axes of a convolution."""

    side: int  # pixels of the image
    taps: int  # of the kernel
    low: int  # zeros before the image
    high: int  # and behind it

    @property
    def outputs(self) -> int:
        return self.side + self.low + self.high - self.taps + 1


class Plan(NamedTuple):
    """Tiles of which side, in pixels, for which convolution; and whether one matrix evaluates both axes at once."""

    tile: int
    at_once: bool
    axes: tuple[Axis, Axis]


def plan(image: tuple[int, ...], kernel: tuple[int, ...], pads: Sequence[tuple[int, int]]) -> Plan | None:
    """The plan that takes least time for arrays of these shapes; None where a plain convolution does."""
    axes = tuple(Axis(side, taps, *pad) for side, taps, pad in zip(image[1:3], kernel[:2], pads, strict=True))
    outputs = math.prod(axis.outputs for axis in axes)
    plain = image[0] * outputs * math.prod(kernel)
    plans = [Plan(tile, at_once, axes) for tile in POINTS if tile > max(kernel[:2]) for at_once in (True, False)]
    times = {plan: _products(plan, image[0], *kernel[2:]) for plan in plans}
    best = min(times, key=times.get, default=None)
    return best if best and times[best] * GAIN < plain else None


def _products(plan: Plan, batch: int, inputs: int, outputs: int) -> int:
    """How many multiplications of large matrix products take as long, both ways alike."""
    rows, columns = (plan.tile * _tiles(plan.tile, axis) for axis in plan.axes)

    def evaluated(height: int, width: int) -> int:
        if plan.at_once:
            return rows * columns * height * width
        moved = height * width + rows * width + rows * columns
        return rows * width * height + rows * columns * width + MOVE * moved

    images = evaluated(*(axis.side for axis in plan.axes)) * inputs
    convolved = evaluated(*(axis.outputs for axis in plan.axes)) * outputs
    kernels = KERNEL * plan.tile**2 * math.prod(axis.taps for axis in plan.axes) * inputs * outputs
    return batch * (images + rows * columns * inputs * outputs + convolved) + kernels


def convolve(x: Image, kernel: Kernel, plan: Plan) -> Convolved:
    """The cross-correlation of stride 1."""
    products = jnp.einsum('pti,pio->pto', _evaluate(x, plan, _of_image), _evaluate_kernel(kernel, plan))
    return _interpolate(products, plan, _of_output)


# The gradients are `convolve` transposed. They share values with it and each other, which XLA works out once.


def to_image(gradient: Convolved, kernel: Kernel, plan: Plan) -> Image:
    """The gradient of `convolve` with respect to the image."""
    values, weights = _evaluate(gradient, plan, _of_output), _evaluate_kernel(kernel, plan)
    _, tiles, channels = values.shape
    if tiles < channels:  # to turn them and what becomes of them takes less than to turn the weights
        products = jax.lax.optimization_barrier(jnp.einsum('pio,pto->pit', weights, values)).swapaxes(1, 2)
    else:
        products = jnp.einsum('pto,pio->pti', values, weights)
    return _interpolate(products, plan, _of_image)


def to_kernel(x: Image, gradient: Convolved, plan: Plan) -> Kernel:
    """The gradient of `convolve` with respect to the kernel."""
    values, gradient_values = _evaluate(x, plan, _of_image), _evaluate(gradient, plan, _of_output)
    products = jnp.einsum('pti,pto->pio', values, gradient_values)
    taps, channels = [axis.taps for axis in plan.axes], products.shape[1:]
    return (_of_kernel(plan).T @ products.reshape(plan.tile**2, -1)).reshape(*taps, *channels)


def _evaluate(x: Pixels, plan: Plan, of: Callable[[int, Axis], Matrix]) -> Values:
    """Pixels at pairs of points. Matrices are on the left, since a product that turns its factors is slow."""
    rows, columns = (of(plan.tile, axis) for axis in plan.axes)
    channels = x.shape[-1]
    if plan.at_once:
        both = _both(rows, columns)
        by_pixel = x.reshape(-1, both.shape[-1], channels).swapaxes(0, 1)
        values = both @ by_pixel.reshape(len(by_pixel), -1)
    else:
        values = jnp.einsum('juq,itnqc->ijtunc', columns, jnp.einsum('itp,npqc->itnqc', rows, x))
    return values.reshape(plan.tile**2, -1, channels)


def _interpolate(values: Values, plan: Plan, of: Callable[[int, Axis], Matrix]) -> Pixels:
    """`_evaluate` transposed."""
    rows, columns = (of(plan.tile, axis) for axis in plan.axes)
    height, width, channels = rows.shape[-1], columns.shape[-1], values.shape[-1]
    if plan.at_once:
        both = _both(rows, columns)
        by_pixel = both.T @ values.reshape(len(both), -1)
        return by_pixel.reshape(height * width, -1, channels).swapaxes(0, 1).reshape(-1, height, width, channels)
    by_tile = values.reshape(plan.tile, plan.tile, rows.shape[1], columns.shape[1], -1, channels)
    return jnp.einsum('itp,itnqc->npqc', rows, jnp.einsum('juq,ijtunc->itnqc', columns, by_tile))


def _evaluate_kernel(kernel: Kernel, plan: Plan) -> Float[Array, 'pairs inputs outputs']:
    channels = kernel.shape[2:]
    return (_of_kernel(plan) @ kernel.reshape(-1, math.prod(channels))).reshape(-1, *channels)


def _of_kernel(plan: Plan) -> Float[np.ndarray, 'pairs taps']:
    rows, columns = (_powers(plan.tile, axis.taps) for axis in plan.axes)
    return np.kron(rows, columns).astype(np.float32)


def _of_image(tile: int, axis: Axis) -> Matrix:
    return _by_tile(np.linalg.inv(_powers(tile, tile)).T, tile, axis, -axis.low, axis.side)


def _of_output(tile: int, axis: Axis) -> Matrix:
    return _by_tile(_powers(tile, _made(tile, axis)), tile, axis, 0, axis.outputs)


def _powers(tile: int, count: int) -> np.ndarray:
    """The lowest powers of each point; of infinity the highest of them alone."""
    return np.vstack([np.vander(POINTS[tile], count, increasing=True), np.eye(count)[-1]])


def _made(tile: int, axis: Axis) -> int:
    """How many outputs a tile makes."""
    return tile - axis.taps + 1


def _tiles(tile: int, axis: Axis) -> int:
    return -(-axis.outputs // _made(tile, axis))


def _by_tile(matrix: np.ndarray, tile: int, axis: Axis, first: int, pixels: int) -> Matrix:
    """The matrix of a tile, wherever there is one: the first begins at pixel `first`, and all end with the last."""
    placed = np.zeros((tile, _tiles(tile, axis), pixels), np.float32)
    for number in range(placed.shape[1]):
        start = first + number * _made(tile, axis)
        inside = slice(max(start, 0), min(start + matrix.shape[1], pixels))
        placed[:, number, inside] = matrix[:, inside.start - start : inside.stop - start]
    return placed


def _both(
    rows: Matrix, columns: Float[np.ndarray, 'points other_tiles other_pixels']
) -> Float[np.ndarray, 'all_values all_pixels']:
    """One matrix of both axes."""
    return np.einsum('itp,juq->ijtupq', rows, columns).reshape(-1, rows.shape[-1] * columns.shape[-1])
