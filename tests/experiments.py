"""Experiments that tests train."""

from ml_collections import ConfigDict

from configs import base


def small() -> ConfigDict:
    """One of seconds that draws in every way: of params, order, crops and dropout."""
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 110, 37
    config.data.augment.crop = 1
    config.model.patch_size, config.model.embed_dim, config.model.depth = 4, 16, 1
    config.model.dropout = 0.1
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 24, 16, 16
    config.log.every, config.checkpoint.count, config.log.tensorboard = 5, 4, False
    return config
