"""The sweep that these tests train and ask, and what they ask of it."""

import json

from configs import base

SIDES, POLICIES = [8, 12], ['extend', 'rescale']
SEEDS = 4


def experiment():
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 64, 50
    config.model.embed_dim, config.model.depth, config.model.resnet_width = 16, 1, 4
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 12, 8, 16
    config.train.learning_rate = 3e-2
    config.checkpoint.count, config.log.tensorboard = 1, False
    return config


def run_names(workdir):
    return [run['run'] for run in json.loads((workdir / 'sweep.json').read_text())['runs']]
