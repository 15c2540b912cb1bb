import jax
import numpy as np
import pytest

from data.rows import Rows
from data.spec import Split
from training import placement
from training.batches import batch_rows, fed_to_one, make_feed, padded_batches


@pytest.mark.parametrize('batch_size', [3, 7, 10, 25])
def test_an_epoch_is_a_permutation_whatever_the_batch_size(batch_size):
    examples, epochs = 10, 5
    steps = -(-examples * epochs // batch_size)
    rows = batch_rows(0, 0, batch_size, examples, steps).ravel()
    orders = rows[: examples * epochs].reshape(epochs, examples)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(examples), (epochs, 1)))
    assert len({tuple(order) for order in orders}) == epochs


def test_rows_depend_on_seed_and_step_alone():
    walked = [batch_rows(3, step, 4, 10) for step in range(20)]
    np.testing.assert_array_equal(batch_rows(3, 17, 4, 10), walked[17])
    np.testing.assert_array_equal(batch_rows(3, 5, 4, 10, count=15), np.concatenate(walked[5:]))
    assert any((batch_rows(4, step, 4, 10) != walked[step]).any() for step in range(3))


@pytest.fixture
def split():
    images = np.random.default_rng(0).integers(0, 256, (10, 2, 2, 1), dtype=np.uint8)
    return Split(images, np.arange(10, dtype=np.int32))


def test_no_two_epochs_of_any_two_seeds_have_the_same_order():
    """Else a seed's runs would be another's, an epoch later."""
    orders = {tuple(batch_rows(seed, epoch, 20, 20).ravel()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize('on_device', [False, True])
def test_batches_are_the_rows_asked_for_wherever_they_lie(split, on_device):
    whole = split.images
    if not on_device:
        split = split._replace(images=Rows(split.images, np.arange(10)))
    rows = np.array([[7, 0, 7], [1, 9, 2]], np.int32)
    images, labels, within = make_feed(split, placement.of(1, 3))(rows)
    for step in range(2):
        there = (images, labels) if on_device else (images[step], labels[step])
        assert len(there[0]) == len(there[1]) == (10 if on_device else 3)
        np.testing.assert_array_equal(np.asarray(there[0])[within[step]], whole[rows[step]])
        np.testing.assert_array_equal(np.asarray(there[1])[within[step]], rows[step])


@pytest.mark.parametrize('on_device', [False, True])
def test_one_member_is_fed_what_it_would_be_by_itself(split, on_device):
    if not on_device:
        split = split._replace(images=Rows(split.images, np.arange(10)))
    rows = np.random.default_rng(0).integers(0, 10, (2, 4, 3)).astype(np.int32)
    together = make_feed(split, placement.of(2, 3))(rows)
    for index in range(2):
        alone = make_feed(split, placement.of(1, 3))(rows[index])
        jax.tree.map(np.testing.assert_array_equal, fed_to_one(together, index, 2), alone)
        jax.tree.map(np.testing.assert_array_equal, fed_to_one(alone, 0, 1), alone)


@pytest.mark.parametrize('batch_size', [1, 4, 10, 16])
def test_padding_hides_no_example_and_adds_none(split, batch_size):
    seen = []
    for images, labels, mask in padded_batches(split, batch_size):
        assert len(images) == len(labels) == len(mask) == batch_size
        seen.extend(labels[mask])
    assert seen == list(range(10))


@pytest.mark.parametrize('batch_size', [2, 4, 10])
def test_a_batch_that_needs_no_padding_is_not_copied(split, batch_size):
    """500 photographs are 75 MB."""
    for images, labels, mask in padded_batches(split, batch_size):
        assert np.shares_memory(images, split.images) == np.shares_memory(labels, split.labels) == mask.all()


def test_batches_of_a_file_are_what_devices_take_and_cannot_be_written(split, tmp_path):
    np.save(tmp_path / 'images.npy', split.images)
    mapped = split._replace(images=np.load(tmp_path / 'images.npy', mmap_mode='r'))
    whole, padded = padded_batches(mapped, 6)
    assert not whole[0].flags.writeable
    for start, batch in ((0, whole), (6, padded)):
        images, labels, mask = jax.device_get(jax.device_put(batch))
        np.testing.assert_array_equal(images[mask], split.images[start : start + 6])
        np.testing.assert_array_equal(labels[mask], split.labels[start : start + 6])
        assert not images[~mask].any()
