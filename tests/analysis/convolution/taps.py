"""Convolutions of random weights, and what they are in float64, tap by tap."""

import numpy as np

SHARP = 64.0


def draw(size, grid, inputs=3, outputs=4):
    draws = np.random.default_rng(0)
    kernel = draws.normal(size=(size, size, inputs, outputs)).astype(np.float32)
    bias = draws.normal(size=outputs).astype(np.float32)
    return kernel, bias, draws.normal(size=(2, *grid, inputs)).astype(np.float32)


def reference(kernel, bias, image, outside):
    """A convolution in float64, tap by tap; `outside(place, size)` says what it reads there, None for zero."""
    rows, columns = image.shape[1:3]
    result = np.zeros((*image.shape[:3], kernel.shape[-1])) + bias
    reach = len(kernel) // 2
    for row, column in np.ndindex(rows, columns):
        for i, j in np.ndindex(kernel.shape[:2]):
            place = outside(row + i - reach, rows), outside(column + j - reach, columns)
            if None not in place:
                result[:, row, column] += image[:, place[0], place[1]].astype(np.float64) @ kernel[i, j]
    return result


def nearest(place, size):
    return min(max(place, 0), size - 1)


def nothing(place, size):
    return place if 0 <= place < size else None


def relative_error(ours, theirs):
    return np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs))
