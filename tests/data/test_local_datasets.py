import numpy as np
import pytest
from sklearn.datasets import load_digits

import data
from configs import base


@pytest.fixture
def config():
    return base.get_config().data


def unique_images(split):
    return {image.tobytes() for image in split.images}


def test_digits_are_all_there_once(config):
    digits = data.load(config)
    sizes = [len(split.labels) for split in (digits.train, digits.validation, digits.test)]
    assert sum(sizes) == 1797
    assert sum(sizes[:2]) == data.examples(config)
    assert digits.spec.image_shape == (8, 8, 1)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.max() == 255
    # Disjoint: the 1,797 images are distinct, so equal bytes would be a leak.
    parts = [unique_images(split) for split in (digits.train, digits.validation, digits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797


def test_digits_are_what_scikit_learn_gives(config):
    """Each with its label, whichever split it went to."""
    given = load_digits()
    images = np.round(given.images * (255 / 16)).astype(np.uint8)
    expected = {image.tobytes(): label for image, label in zip(images, given.target, strict=True)}
    dataset = data.load(config)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert [expected[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_digits_test_split_is_stratified(config):
    counts = np.bincount(data.load(config).test.labels)
    assert counts.min() >= 34
    assert counts.max() <= 38


@pytest.mark.parametrize(('size', 'channels'), [(4, 1), (33, 3)])
def test_synthetic_is_what_was_asked_for(config, size, channels):
    config.name = 'synthetic'
    config.synthetic.image_size, config.synthetic.channels = size, channels
    config.synthetic.train_examples, config.synthetic.test_examples = 100, 30
    made = data.load(config)
    assert made.spec == data.spec(config)
    assert made.test.images.shape == (30, size, size, channels)
    assert len(made.train.labels) + len(made.validation.labels) == 100


def test_synthetic_can_be_learned_but_is_not_constant(config):
    """The nearest class mean recognises it, so a model that cannot has a defect."""
    config.name = 'synthetic'
    config.synthetic.image_size = 16
    made = data.load(config)
    means = np.stack([made.train.images[made.train.labels == label].mean(axis=0) for label in range(10)])
    distances = ((made.test.images[:, None].astype(float) - means) ** 2).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == made.test.labels).all()
    assert len(unique_images(made.train)) == len(made.train.labels)


def test_large_datasets_are_read_by_rows_not_copied(config, monkeypatch):
    copied = data.load(config)
    monkeypatch.setattr(data, 'IN_MEMORY_BYTES', 0)
    viewed = data.load(config)
    assert isinstance(viewed.train.images, data.Rows)
    assert viewed.train.images.shape == copied.train.images.shape
    assert viewed.train.images.nbytes == copied.train.images.nbytes
    rows = np.array([5, 0, 17])
    np.testing.assert_array_equal(viewed.train.images[rows], copied.train.images[rows])
    np.testing.assert_array_equal(viewed.validation.images[3:9], copied.validation.images[3:9])
    np.testing.assert_array_equal(viewed.test.images[3:9], copied.test.images[3:9])


def test_a_small_subset_of_a_large_dataset_is_copied(config, monkeypatch):
    monkeypatch.setattr(data, 'IN_MEMORY_BYTES', 200 * 64)
    config.train_examples = 100
    subset = data.load(config)
    assert isinstance(subset.train.images, np.ndarray)
    assert isinstance(subset.test.images, data.Rows)
    monkeypatch.setattr(data, 'IN_MEMORY_BYTES', subset.test.images.nbytes)
    assert isinstance(data.load(config).test.images, np.ndarray)
    monkeypatch.setattr(data, 'IN_MEMORY_BYTES', 200 * 64)
    config.train_examples = 1000
    assert isinstance(data.load(config).train.images, data.Rows)
