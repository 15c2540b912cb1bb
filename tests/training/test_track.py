"""What a member writes while it trains; test_loop.py and test_population.py train with it."""

import jax.numpy as jnp

from tests.experiments import small
from training.recording.log import holds, read_rows
from training.step import Sums
from training.track import Member, Track


def test_a_row_is_on_disk_before_a_checkpoint_may_count_on_it(tmp_path):
    """Else a run that is killed would set aside every checkpoint whose rows it had not written yet."""
    sums = Sums(jnp.float32(1.0), jnp.int32(1), jnp.int32(2), jnp.int32(0))
    with Track(Member(small(), tmp_path, lambda row, steps: None), 24, 0.0, 0, None) as track:
        track.train_row(sums, {'step': 5, 'learning_rate': 1.0})
        assert holds(tmp_path, track.log.mark())
        assert [row['step'] for row in read_rows(tmp_path / 'metrics.jsonl')] == [5]


def test_the_last_row_is_of_a_step_before_the_one_that_diverged(tmp_path):
    """Of a loss that is finite too: the gradient may not have been."""
    sums = Sums(jnp.float32(1.0), jnp.int32(1), jnp.int32(2), jnp.int32(10))
    with Track(Member(small(), tmp_path, lambda row, steps: None), 24, 0.0, 0, None) as track:
        for step in (5, 10, 15):
            track.train_row(sums, {'step': step, 'learning_rate': 1.0})
    assert [row['step'] for row in read_rows(tmp_path / 'metrics.jsonl')] == [5]
    assert track.diverged_step == 10


def test_finite_losses_whose_sum_is_not_are_divergence_by_their_row(tmp_path):
    """No step tells of it, and a row that is not finite could not be read as JSON."""
    sums = Sums(jnp.float32(jnp.inf), jnp.int32(1), jnp.int32(2), jnp.int32(0))
    with Track(Member(small(), tmp_path, lambda row, steps: None), 24, 0.0, 0, None) as track:
        track.train_row(sums, {'step': 5, 'learning_rate': 1.0})
    assert track.diverged_step == 5
    assert read_rows(tmp_path / 'metrics.jsonl') == []
