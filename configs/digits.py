"""Attention on scikit-learn's digits: 8 x 8 images, 16 patches of 2 x 2.

  python train.py --config=configs/digits.py --workdir=runs/digits
  python train.py --config=configs/digits.py --workdir=runs/digits-conv --config.model.mixer=conv

Expect a test accuracy near 99%, in a minute and a half on two cores.

`:tiny` is the narrower model of configs/demo.py, without augmentation; it takes ten seconds.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = '') -> ConfigDict:
    config = base.get_config()
    config.data.augment.crop = 1
    config.model.patch_size = 2
    config.model.mlp_ratio = 2.0
    config.model.dropout = 0.1
    config.model.positions.name = 'sinusoidal_2d'
    config.train.epochs = 160.0
    config.train.batch_size = 64
    config.train.learning_rate = 4e-3
    config.train.weight_decay = 0.3
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.data.augment.crop = 0
    config.model.embed_dim = 48
    config.model.depth = 3
    config.train.epochs = 25.0
    config.checkpoint.count = 2
