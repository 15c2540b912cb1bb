"""Attention on scikit-learn's digits: 8 x 8 images, 16 patches of 2 x 2.

  python train.py --config=configs/digits.py --workdir=runs/digits

`:tiny` is the narrower model of configs/demo.py.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = '') -> ConfigDict:
    config = base.get_config()
    config.model.patch_size = 2
    config.train.batch_size = 64
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.model.embed_dim = 48
    config.model.depth = 3
    config.train.epochs = 30.0
    config.checkpoint.count = 3
