"""A cache of two small arrays, and what tests ask of it."""

import logging

import numpy as np

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(50, dtype=np.int32)
SOURCE = {'shards': [['a', 1], ['b', 2]], 'image_size': None}


class Builder:
    """Fills the arrays above, and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, allocate):
        self.calls += 1
        allocate('images', IMAGES.shape, IMAGES.dtype)[:] = IMAGES
        allocate('labels', LABELS.shape, LABELS.dtype)[:] = LABELS


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def temporaries(folder):
    return [path for path in folder.iterdir() if path.name not in ('images.npy', 'labels.npy', 'manifest.json', 'lock')]


def assert_whole(arrays):
    assert sorted(arrays) == ['images', 'labels']
    np.testing.assert_array_equal(arrays['images'], IMAGES)
    np.testing.assert_array_equal(arrays['labels'], LABELS)
    assert arrays['images'].dtype == np.uint8
    assert arrays['labels'].dtype == np.int32
    assert not arrays['images'].flags.writeable


def overwrite(path, change):
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data))
