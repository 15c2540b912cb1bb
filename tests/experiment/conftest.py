import pytest

from configs import base
from tests.quick import QUICKLY


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """Processes compile as this one does."""
    monkeypatch.setenv('XLA_FLAGS', QUICKLY)


@pytest.fixture
def config():
    """An experiment of seconds."""
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.train_examples = 8, 64
    config.data.synthetic.test_examples = 16
    config.model.embed_dim, config.model.depth = 16, 1
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 4, 8, 16
    config.checkpoint.count, config.log.tensorboard = 1, False
    return config
