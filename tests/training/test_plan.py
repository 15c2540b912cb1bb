import pytest

from configs import base
from training.plan import milestones, total_steps


def test_steps_go_before_epochs():
    config = base.get_config()
    config.train.batch_size, config.train.steps, config.train.epochs = 16, 24, 2.0
    assert total_steps(config, 1000) == 24
    config.train.steps = None
    assert total_steps(config, 1000) == 125
    config.train.epochs = 0.001
    assert total_steps(config, 1000) == 1


@pytest.mark.parametrize(('steps', 'count', 'expected'), [(10, 4, [2, 5, 8, 10]), (3, 10, [1, 2, 3]), (1, 1, [1])])
def test_milestones_are_even_and_end_at_the_end(steps, count, expected):
    assert milestones(steps, count) == expected
