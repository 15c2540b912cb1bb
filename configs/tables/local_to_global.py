"""From convolution to attention in steps: a 3 x 3 kernel, then windows of 3, 5 and 7, then all tokens.

  python sweep.py --config=configs/tables/local_to_global.py:tiny --workdir=runs/local_to_global

Five arms of one backbone, five seeds each, and a figure of accuracy over reach. On Fashion-MNIST's 7 x 7 grid
(`python -m data.prepare fashion_mnist`); `:tiny` reads scikit-learn's digits pixel by pixel, 64 tokens on an 8 x 8
grid, with 48 channels, three blocks and three seeds.

The first step changes what a token does with its eight neighbours and nothing of which they are; the others change
reach alone. Attention has a relative bias, so that like the kernel it knows a neighbour's place and not its own.

The shape is that of the ablation of spatial extent in Ramachandran et al. 2019 (arXiv:1906.05909, section 4), with its
convolutional baseline beside it. It differs in the backbone (theirs is ResNet-50, on ImageNet) and in the last arm,
which has no window. A 3 x 3 kernel has nine matrices where attention has four: `--config.model.match=params`, or flops,
makes up for it.

What to expect of `:tiny`: 98.3% with the convolution, then 85.6, 83.3 and 77.4% with windows of 3, 5 and 7, and 55.0%
with all tokens (results/local_to_global/; 16 minutes on two cores that did other work too). The full form was not run
so far.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base, digits, fashion_mnist
from configs.tables import with_seeds

FIGURE = {'x': 'what a token sees in a layer', 'scale': 'category', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    config = digits.get_config(variant) if variant == 'tiny' else fashion_mnist.get_config(variant)
    config.model.positions.name = 'relative_bias'
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.model.patch_size = 1


def sweep(variant: str = '') -> list[dict[str, Any]]:
    steps = {'convolution 3 x 3': {'model.mixer': 'conv', 'model.positions.name': 'none'}}
    steps |= {f'attention {window} x {window}': {'model.window': window} for window in (3, 5, 7)}
    steps['attention, all tokens'] = {}
    arms = {label: fields | {'curve': 'one backbone', 'x': label} for label, fields in steps.items()}
    return with_seeds(arms, 3 if variant == 'tiny' else 5)
