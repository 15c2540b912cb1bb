import pytest

import data
from configs import base
from training import loop
from training.track import Member


class Cut(Exception):
    """A run is cut off here."""


@pytest.fixture
def config():
    """Eight checkpoints in 24 steps, of which the two newest and the best are kept."""
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 110, 37
    config.data.augment.crop = 1
    config.model.patch_size, config.model.embed_dim, config.model.depth = 4, 16, 1
    config.model.dropout = 0.1
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 24, 16, 16
    config.log.every, config.log.tensorboard, config.checkpoint.count = 4, False, 8
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
