"""What a dataset is to the rest of patchwise: uint8 images, int32 labels, and a spec."""

import math
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
    """Some rows of images that are too many to copy: reads like the array of them, one batch at a time."""

    def __init__(self, images: UInt8[np.ndarray, 'all height width channels'], rows: Int[np.ndarray, 'examples']):
        self._images, self._rows = images, rows
        self.shape = (len(rows), *images.shape[1:])
        self.dtype = images.dtype
        self.nbytes = math.prod(self.shape) * images.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Int[np.ndarray, 'batch']) -> UInt8[np.ndarray, 'batch height width channels']:
        return self._images[self._rows[index]]


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
