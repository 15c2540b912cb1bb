import jax
import numpy as np
import pytest

from data.spec import Rows, Split
from training.batches import batch_rows, fed_examples, make_feed, padded_batches


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
    feed = make_feed(split, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    images, labels, within = feed(rows)
    assert len(images) == len(labels) == fed_examples(len(whole) if on_device else None, rows.size)
    np.testing.assert_array_equal(np.asarray(images)[within], whole[rows])
    np.testing.assert_array_equal(np.asarray(labels)[within], rows)


@pytest.mark.parametrize('batch_size', [1, 4, 10, 16])
def test_padding_hides_no_example_and_adds_none(split, batch_size):
    seen = []
    for images, labels, mask in padded_batches(split, batch_size):
        assert len(images) == len(labels) == len(mask) == batch_size
        seen.extend(labels[mask])
    assert seen == list(range(10))
