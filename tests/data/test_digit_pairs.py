"""Every image is taken apart again: its digits are found in scikit-learn's set, each with its class and its cell."""

import numpy as np
import pytest

import data
from configs import base
from configs.errors import ConfigError
from data import digits


def config(**fields):
    made = base.get_config().data
    made.name = 'digit_pairs'
    made.digit_pairs.update(fields)
    return made


def glyphs(split):
    """For each image the bytes of its digits, and their cells (row, column): [examples, 2, 2], in reading order."""
    grid = split.images.shape[1] // 8
    cells = split.images.reshape(-1, grid, 8, grid, 8).transpose(0, 1, 3, 2, 4)
    filled = cells.any(axis=(3, 4))
    assert (filled.sum(axis=(1, 2)) == 2).all()
    found = np.argwhere(filled)[:, 1:].reshape(-1, 2, 2)
    return [
        [image[row, column].tobytes() for row, column in two] for image, two in zip(cells, found, strict=True)
    ], found


def classes_of(pictures):
    known = digits.read(base.get_config().data)
    labels = {image.tobytes(): label for split in known for image, label in zip(*split, strict=True)}
    return np.array([[labels[picture] for picture in two] for two in pictures])


@pytest.fixture(scope='module')
def made():
    return data.load(config(train_examples=6000, test_examples=3000))


def parts(made):
    return made.train, made.validation, made.test


def test_is_what_was_asked_for(made):
    assert made.spec == data.spec(config())
    assert made.spec.image_shape == made.train.images.shape[1:] == (48, 48, 1)
    assert made.train.images.dtype == np.uint8
    assert [len(split.labels) for split in parts(made)] == [5400, 600, 3000]
    assert data.examples(config(train_examples=6000)) == 6000
    again = data.load(config(train_examples=6000, test_examples=3000))
    np.testing.assert_array_equal(again.test.images, made.test.images)


def test_a_label_says_whether_two_digits_are_of_one_class(made):
    for split in parts(made):
        classes = classes_of(glyphs(split)[0])
        np.testing.assert_array_equal(
            classes[:, 0] == classes[:, 1], made.spec.class_names.index('same') == split.labels
        )
        assert split.labels.mean() == 0.5


def test_digits_of_test_are_not_in_train_and_no_picture_stands_beside_itself(made):
    trained, validated, tested = ({picture for two in glyphs(split)[0] for picture in two} for split in parts(made))
    assert not tested & (trained | validated)
    for split in parts(made):
        assert all(first != second for first, second in glyphs(split)[0])


def test_neither_a_class_nor_a_cell_says_anything_of_the_label(made):
    """Each by itself, so that a sum over tokens has nothing to find. Bounds are five standard deviations."""
    pictures, cells = glyphs(made.train)
    classes = classes_of(pictures)
    for place in (0, 1):
        for value in range(10):
            labels = made.train.labels[classes[:, place] == value]
            assert len(labels) > 300
            assert abs(labels.mean() - 0.5) < 5 * 0.5 / len(labels) ** 0.5
        for axis in (0, 1):
            for value in range(6):
                labels = made.train.labels[cells[:, place, axis] == value]
                assert abs(labels.mean() - 0.5) < 5 * 0.5 / max(1, len(labels)) ** 0.5


def test_any_two_classes_meet_as_often_as_any_other(made):
    """Whatever stands first. Bounds are five standard deviations."""
    classes = classes_of(glyphs(made.train)[0])
    for same, pairs in ((True, 10), (False, 45)):
        meeting = np.sort(classes[(classes[:, 0] == classes[:, 1]) == same])
        found, counts = np.unique(meeting, axis=0, return_counts=True)
        assert len(found) == pairs
        assert abs(counts - len(meeting) / pairs).max() < 5 * (len(meeting) / pairs) ** 0.5


@pytest.mark.parametrize('distance', [1, 2, 5])
def test_digits_are_as_far_apart_as_was_asked(distance):
    _, cells = glyphs(data.load(config(train_examples=500, test_examples=400, distance=distance)).test)
    assert (abs(cells[:, 0] - cells[:, 1]).max(axis=1) == distance).all()


@pytest.mark.parametrize(('distance', 'pairs'), [(None, 36), (1, 20), (2, 16)])
def test_every_pair_of_cells_has_the_same_chance(distance, pairs):
    """Of a grid of 3 x 3, in which either of two cells may be the first. Bounds are five standard deviations."""
    made = data.load(config(train_examples=500, test_examples=8000, grid=3, distance=distance))
    places, counts = np.unique(glyphs(made.test)[1].reshape(-1, 4), axis=0, return_counts=True)
    assert len(places) == pairs
    expected = 8000 / pairs
    assert abs(counts - expected).max() < 5 * expected**0.5


def test_pairs_that_no_grid_has_are_refused():
    message = r'distance=4 is more than data\.digit_pairs\.grid=4 has room for; 3 or less would do'
    with pytest.raises(ConfigError, match=message):
        data.spec(config(grid=4, distance=4))


def test_crops_which_would_cut_a_digit_away_are_refused():
    cropped = config()
    cropped.augment.crop = 1
    with pytest.raises(ConfigError, match=r'data\.augment\.crop=1 would cut digits .*; 0 would do'):
        data.spec(cropped)
