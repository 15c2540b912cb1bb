"""Images that are too many to copy: they stay in a memory-mapped file, and are read a batch at a time."""

import contextlib
import math
import mmap
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8

ASKED_BYTES = 128 << 10  # of a longer request Linux reads its beginning alone: as much as it reads ahead


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
        for first, end in _stretches(start + rows.astype(np.int64) * size, size):
            for part in range(first, end, ASKED_BYTES):
                mapped.madvise(mmap.MADV_WILLNEED, part, min(ASKED_BYTES, end - part))


def _stretches(places: Int[np.ndarray, 'batch'], size: int) -> Iterator[tuple[int, int]]:
    """Where to begin, at a page, and to end to have all pieces of `size` bytes at `places`.

    Neighbours that come in turn are one stretch: of small images many lie in a page, and each request takes time.
    """
    first, end = places - places % mmap.PAGESIZE, places + size
    begins, ends = np.ones((2, len(places)), bool)
    begins[1:] = ends[:-1] = (first[1:] > end[:-1]) | (first[1:] < first[:-1])
    return zip(first[begins].tolist(), end[ends].tolist(), strict=True)
