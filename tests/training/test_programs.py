import pytest

import data
from tests.experiments import small
from training.programs import compile_programs


@pytest.fixture
def config():
    return small()


def test_runs_that_differ_in_seed_or_rates_share_their_programs(config):
    dataset = data.load(config.data)
    programs = compile_programs(config, dataset, 24)
    config.seed = 7
    config.train.learning_rate, config.train.weight_decay, config.train.label_smoothing = 0.1, 0.0, 0.2
    assert compile_programs(config, dataset, 24) is programs
    config.train.clip_norm *= 2
    assert compile_programs(config, dataset, 24) is not programs
