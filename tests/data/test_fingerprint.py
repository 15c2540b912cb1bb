"""Images of another version, in another order or with other labels have another fingerprint; the same have the same."""

import numpy as np
import pytest

import data
import data.fingerprint as module
from configs import digits
from data.fingerprint import fingerprint
from data.rows import Rows
from data.spec import Split


@pytest.fixture
def dataset():
    return data.load(digits.get_config().data)


def test_it_is_of_the_images_and_nothing_else(dataset):
    again = data.load(digits.get_config().data)
    assert fingerprint(dataset) == fingerprint(again)
    assert len(set(fingerprint(dataset).values())) == 3
    mapped = dataset._replace(train=Split(Rows(dataset.train.images, np.arange(len(dataset.train.labels))),
                                          dataset.train.labels))  # fmt: skip
    assert fingerprint(mapped) == fingerprint(dataset)


@pytest.mark.parametrize('change', ['a label', 'one pixel', 'all images', 'an image less', 'the order'])
def test_what_differs_is_told_in_its_split_alone(dataset, change):
    images, labels = dataset.test
    if change == 'a label':
        labels = np.where(np.arange(len(labels)) == 7, (labels + 1) % 10, labels).astype(labels.dtype)
    elif change == 'one pixel':
        images = images.copy()
        images[7, 3, 3] ^= 1
    elif change == 'all images':
        images = images // 2
    elif change == 'an image less':
        images, labels = images[1:], labels[1:]
    else:
        images, labels = images[::-1], labels[::-1]
    other = fingerprint(dataset._replace(test=Split(images, labels)))
    assert [name for name, told in fingerprint(dataset).items() if told != other[name]] == ['test']


def test_of_many_images_some_are_looked_at(dataset, monkeypatch):
    monkeypatch.setattr(module, 'WHOLE', 0)
    before = fingerprint(dataset)
    images = dataset.test.images.copy()
    images[0] ^= 1
    assert fingerprint(dataset._replace(test=Split(images, dataset.test.labels)))['test'] != before['test']
    images[0] ^= 1
    images[1] ^= 1
    assert fingerprint(dataset._replace(test=Split(images, dataset.test.labels))) == before


def test_a_subset_has_another_training_split_and_the_same_others(dataset):
    config = digits.get_config()
    config.data.train_examples = 100
    few = fingerprint(data.load(config.data))
    assert [name for name, told in fingerprint(dataset).items() if told != few[name]] == ['train']


def test_the_same_bytes_in_another_shape_are_other_images(dataset):
    images = dataset.test.images
    turned = dataset._replace(test=Split(images.reshape(len(images), 4, 16, *images.shape[3:]), dataset.test.labels))
    assert fingerprint(turned)['test'] != fingerprint(dataset)['test']


def test_the_images_that_are_looked_at_reach_to_the_last(dataset, monkeypatch):
    monkeypatch.setattr(module, 'WHOLE', 0)
    images = dataset.test.images.copy()
    images[-1] ^= 1
    changed = dataset._replace(test=Split(images, dataset.test.labels))
    assert fingerprint(changed)['test'] != fingerprint(dataset)['test']
