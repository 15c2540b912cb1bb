"""Does attention need more data than convolution? 1, 3, 10, 30 and 100% of the training images.

  python -m data.prepare fashion_mnist
  python sweep.py --config=configs/tables/data_scaling.py:tiny --workdir=runs/data_scaling

Attention, the convolution of the same backbone, and ResNet-18, each at the width at which it has as many params as
attention (model.match='params'); the subsets are nested and balanced. Every run sees the same number of images, so
those of a small subset are seen more often, and no arm trains longer than another. (A subset is the same for every
seed, so intervals do not cover other images.) Attention has `learned_1d`; checkpoints are selected on the same 6,000
validation images whatever the subset. Five seeds each: 75 runs, a test of each convolution against attention on as many
images, and a figure with a curve for each model. Fashion-MNIST, 20,000 steps of 128 images; `:tiny` has 16 patches of
7 x 7, 2,000 steps, and no ResNet, whose steps take several times as long.

The shape is that of figure 4 in Dosovitskiy et al. 2021 (arXiv:2010.11929), few-shot accuracy over the size of random
subsets of JFT. It differs in that models are tested on the dataset that they were trained on, and by orders of
magnitude.

What to expect of `:tiny`: with 1, 3, 10, 30 and 100% of the images attention reaches 76.1, 81.8, 85.5, 86.2 and 86.5%,
the convolution 79.7, 83.9, 86.5, 87.4 and 87.5%. Attention is 3.5 points behind with 540 images, 2.1 with 1,620, and
1.0 to 1.2 with 5,400 or more, each with p of 0.002 or less. See results/data_scaling/; it took 43 minutes on two cores
that did other work too. The full form has not been run yet.
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import base, fashion_mnist
from configs.tables import with_seeds

MODELS = {
    'attention': {},
    'convolution 3 x 3': {'model.mixer': 'conv', 'model.positions.name': 'none'},
    'ResNet-18': {'model.name': 'resnet'},
}
PERCENTS = (1, 3, 10, 30, 100)
FIGURE = {'x': 'training images used, %', 'scale': 'log', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    config = fashion_mnist.get_config(variant)
    config.model.match = 'params'
    config.train.steps = 20_000
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.train.steps = 2_000


def sweep(variant: str = '') -> list[dict[str, Any]]:
    models = [model for model in MODELS if not (variant == 'tiny' and model == 'ResNet-18')]
    arms = {}
    for model, percent in itertools.product(models, PERCENTS):
        arms[f'{model}, {percent}%'] = MODELS[model] | {
            'data.train_fraction': percent / 100,
            'curve': model,
            'x': percent,
            'against': None if model == 'attention' else f'attention, {percent}%',
        }
    return with_seeds(arms, 5)
