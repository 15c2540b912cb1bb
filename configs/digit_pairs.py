"""Are two handwritten digits of one class? A relation across a distance: 48 x 48 images, 36 patches of 8 x 8.

  python train.py --config=configs/digit_pairs.py --workdir=runs/pairs
  python train.py --config=configs/digit_pairs.py --workdir=runs/pairs-conv --config.model.mixer=conv

There is nothing to prepare: scikit-learn's digits stand on an empty grid, each in one patch (data/digit_pairs.py).
Expect a test accuracy near 95% with attention, on pictures that it has not seen, in half a minute on two cores; and
50%, which is chance, with convolution, which does not begin to learn within 1,500 steps. There are no positions:
attention compares what is there, not where it is. (Validation uses the same pictures as training, mostly in other
pairs, so its accuracy is above that of the test.)
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.name = 'digit_pairs'
    config.model.patch_size = 8
    config.model.embed_dim = 48
    config.model.depth = 2
    config.model.mlp_ratio = 2.0
    config.model.positions.name = 'none'
    config.train.steps = 1500
    config.train.batch_size = 64
    config.train.label_smoothing = 0.0
    config.checkpoint.count = 10
    return config
