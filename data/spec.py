"""What a dataset is to the rest of patchwise: uint8 images, int32 labels, and a spec."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from data.rows import Rows


class Spec(NamedTuple):
    """What a model must know of a dataset before it sees an image."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels (pixels)
    num_classes: int
    class_names: tuple[str, ...]
    flip: bool  # whether a mirrored image keeps its label


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
