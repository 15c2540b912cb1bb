import pytest

import data
from tests.experiments import small
from training import loop
from training.track import Member


class Cut(Exception):
    """A run is cut off here."""


@pytest.fixture
def config():
    """Eight checkpoints in 24 steps, of which the two newest and the best are kept."""
    config = small()
    config.log.every, config.checkpoint.count = 4, 8
    return config


@pytest.fixture
def train():
    """train(config, folder, until) -> its result; with `until`, it is cut off when it reports that step."""

    def train(config, folder, until=None):
        def report(row, steps):
            if until is not None and row['step'] >= until:
                raise Cut

        folder.mkdir(parents=True, exist_ok=True)
        try:
            (result,) = loop.train([Member(config, folder, report)], data.load(config.data))
        except Cut:
            return None
        return result

    return train
