"""What the processes that share a batch have in common, in memory that no file is left of."""

import math
import mmap
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from data.spec import Spec

ALIGNMENT = 64  # bytes: JAX takes an array of the host without copying it if it begins at a multiple of them
PARAMS = ALIGNMENT // 4  # as many float32 take


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
        room = -(-params // PARAMS) * PARAMS  # for a share's gradients, so that the next one's are aligned too
        shapes = (params,), (shares, room), (batch, *spec.image_shape), (batch,)
        arrays = list(zip(shapes, kinds, strict=True))
        offsets, size = layout([math.prod(shape) * np.dtype(kind).itemsize for shape, kind in arrays])
        os.ftruncate(file, size)
        held = mmap.mmap(file, size)
        vector, gradients, images, labels = (
            np.ndarray(*array, held, offset) for array, offset in zip(arrays, offsets, strict=True)
        )
        return cls(vector, gradients[:, :params], images, labels)


def layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where arrays of so many bytes begin, one after the other and each aligned, and where the last ends."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(-(-end // ALIGNMENT) * ALIGNMENT)
        end = offsets[-1] + size
    return offsets, end
