"""What the processes that share a batch have in common, in memory that no file is left of."""

import math
import mmap
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from data.spec import Spec

ALIGNMENT = 64  # bytes


class Memory(NamedTuple):
    """What the processes have in common, as arrays of one piece of memory."""

    params: Float32[np.ndarray, 'params']
    gradients: Float32[np.ndarray, 'shares params']
    images: UInt8[np.ndarray, 'batch height width channels']
    labels: Int32[np.ndarray, 'batch']

    @classmethod
    def of(cls, file: int, params: int, shares: int, batch: int, spec: Spec) -> 'Memory':
        """In an open `file`, which grows to hold them."""
        kinds = 'f4', 'f4', 'u1', 'i4'
        shapes = (params,), (shares, params), (batch, *spec.image_shape), (batch,)
        arrays = list(zip(shapes, kinds, strict=True))
        offsets, size = layout([math.prod(shape) * np.dtype(kind).itemsize for shape, kind in arrays])
        os.ftruncate(file, size)
        held = mmap.mmap(file, size)
        return cls(*(np.ndarray(*array, held, offset) for array, offset in zip(arrays, offsets, strict=True)))


def layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where arrays of so many bytes begin, one after the other, and where the last ends.

    JAX takes an array of the host without copying it if it is aligned so.
    """
    offsets, end = [], 0
    for size in sizes:
        offsets.append(-(-end // ALIGNMENT) * ALIGNMENT)
        end = offsets[-1] + size
    return offsets, end
