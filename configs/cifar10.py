"""Attention on CIFAR-10: 32 x 32 colour images, 64 patches of 4 x 4.

  python -m data.prepare cifar10
  python train.py --config=configs/cifar10.py --workdir=runs/cifar10

`:tiny` is a narrow model for 2 epochs on 10,000 examples: a minute or two on a CPU (not measured). Neither form
has been run on the real images yet, so there is no result to expect.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = '') -> ConfigDict:
    config = base.get_config()
    config.data.name = 'cifar10'
    config.data.augment.crop = 4
    config.data.augment.flip = True
    config.model.patch_size = 4
    config.model.embed_dim = 192
    config.model.depth = 9
    config.model.num_heads = 3
    config.model.stochastic_depth = 0.1
    config.train.epochs = 100.0
    config.train.learning_rate = 1e-3
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.data.train_examples = 10_000
    config.model.embed_dim = 64
    config.model.depth = 3
    config.model.num_heads = 4
    config.model.stochastic_depth = 0.0
    config.train.epochs = 2.0
    config.checkpoint.count = 2
