"""What a dataset is to the rest of patchwise: uint8 images, int32 labels, and a spec."""

import contextlib
import math
import mmap
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32, UInt8


class Spec(NamedTuple):
    """What a model must know of a dataset before it sees an image."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels (pixels)
    num_classes: int
    class_names: tuple[str, ...]
    flip: bool  # whether a mirrored image keeps its label


class Rows:
    """Some rows of images that are too many to copy: reads like the array of them, one batch at a time.

    Where the images are memory-mapped a batch is asked for before it is copied, so that the disk has all of it to do at
    once: left to be read as it is touched, it comes page by page (`python -m benchmarks.read`).
    """

    def __init__(self, images: UInt8[np.ndarray, 'all height width channels'], rows: Int[np.ndarray, 'examples']):
        self._images, self._rows = images, rows
        self.shape = (len(rows), *images.shape[1:])
        self.dtype = images.dtype
        self.nbytes = math.prod(self.shape) * images.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Int[np.ndarray, 'batch']) -> UInt8[np.ndarray, 'batch height width channels']:
        rows = self._rows[index]
        _ask_for(self._images, rows)
        return self._images[rows]


def _ask_for(images: UInt8[np.ndarray, 'all height width channels'], rows: Int[np.ndarray, 'batch']) -> None:
    """Has the system begin to read these rows of a memory-mapped array; it goes on while they are waited for."""
    mapped = images.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, 'MADV_WILLNEED'):
        return
    start, size = images.offset % mmap.ALLOCATIONGRANULARITY, images[:1].nbytes
    with contextlib.suppress(OSError):  # advice that is not taken costs time alone
        for row in rows.tolist():
            first = start + row * size
            page = first - first % mmap.PAGESIZE  # advice begins on one
            mapped.madvise(mmap.MADV_WILLNEED, page, first + size - page)


class Split(NamedTuple):
    """Labelled images; row i of `images` has label `labels[i]`."""

    images: UInt8[np.ndarray, 'examples height width channels'] | Rows
    labels: Int32[np.ndarray, 'examples']


class Dataset(NamedTuple):
    """The three splits. Validation is carved from train and selects; test is looked at once, at the end."""

    spec: Spec
    train: Split
    validation: Split
    test: Split
