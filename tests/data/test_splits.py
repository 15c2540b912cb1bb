import itertools

import numpy as np
import pytest

from configs import base
from configs.errors import ConfigError
from data import load, splits


@pytest.fixture
def labels():
    """Unbalanced on purpose: 200, 100 and 20 examples of three classes, in random order."""
    labels = np.repeat(np.arange(3, dtype=np.int32), [200, 100, 20])
    return np.random.default_rng(1).permutation(labels)


def test_validation_is_stratified_and_disjoint(labels):
    train, validation = splits.carve_validation(labels, 0.1)
    assert sorted([*train, *validation]) == list(range(320))
    np.testing.assert_array_equal(np.bincount(labels[validation]), [20, 10, 2])


def test_every_class_has_a_validation_example(labels):
    _, validation = splits.carve_validation(labels, 0.001)
    assert set(labels[validation]) == {0, 1, 2}


def test_a_split_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match=r'data\.validation_fraction=0\.9 leaves nothing .*; another data\.name'):
        splits.carve_validation(np.array([0, 1], np.int32), 0.9)


@pytest.mark.parametrize('fraction', [0.01, 0.5, 0.99])
def test_every_class_keeps_an_example_to_train_on(labels, fraction):
    with_a_single_one = np.append(labels, np.int32(3))
    train, _ = splits.carve_validation(with_a_single_one, fraction)
    assert set(with_a_single_one[train]) == {0, 1, 2, 3}


def test_subsets_are_nested_whatever_asks_for_them(labels):
    rows, _ = splits.carve_validation(labels, 0.1)
    subsets = [set(splits.balanced_subset(labels, rows, 1.0, count)) for count in (1, 10, 50, 200, len(rows))]
    subsets.append(set(splits.balanced_subset(labels, rows, 1.0, None)))
    for smaller, larger in itertools.pairwise(subsets):
        assert smaller <= larger
    tenth, fifth = (set(splits.balanced_subset(labels, rows, fraction, None)) for fraction in (0.1, 0.2))
    assert tenth < fifth < set(rows)


def test_subsets_are_balanced_until_a_class_runs_out(labels):
    rows, _ = splits.carve_validation(labels, 0.1)
    for count in (3, 30, 54):
        counts = np.bincount(labels[splits.balanced_subset(labels, rows, 1.0, count)], minlength=3)
        assert np.ptp(counts) == 0
    counts = np.bincount(labels[splits.balanced_subset(labels, rows, 1.0, 100)])
    np.testing.assert_array_equal(counts, [41, 41, 18])


def test_the_same_split_every_time(labels):
    one, other = (splits.carve_validation(labels, 0.2)[1] for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ('field', 'value', 'would_do'),
    [('train_examples', 5000, r'1 to \d+ would do'), ('train_fraction', 1e-6, r'0\.00\d+ to 1\.0 would do')],
)
def test_an_impossible_subset_names_its_field(field, value, would_do):
    config = base.get_config().data
    config[field] = value
    with pytest.raises(ConfigError, match=f'data.{field}={value} asks for .*; {would_do}'):
        load(config)


def test_validation_does_not_depend_on_the_training_subset():
    config = base.get_config().data
    whole = load(config)
    config.train_fraction = 0.1
    tenth = load(config)
    np.testing.assert_array_equal(whole.validation.images, tenth.validation.images)
    np.testing.assert_array_equal(whole.test.images, tenth.test.images)
    assert len(tenth.train.labels) == round(0.1 * len(whole.train.labels))
