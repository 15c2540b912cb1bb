"""Attention, convolution or recurrence: accuracy and speed as smaller patches make the sequence longer.

  python sweep.py --config=configs/tables/mixers.py:tiny --workdir=runs/mixers
  python sweep.py --config=configs/tables/mixers.py:tiny --workdir=runs/mixers-params --config.model.match=params

Three mixers of one backbone x patch sizes, five seeds each, and a figure of accuracy and of images per second in
training over the number of tokens. Fashion-MNIST in patches of 14, 7, 4 and 2 (`python -m data.prepare fashion_mnist`);
`:tiny` is the small model of configs/demo.py on scikit-learn's digits in patches of 4, 2 and 1. All arms have
sinusoidal_2d, so they differ in the mixer alone; the second command gives them equally many params, too. The table
tests the others against attention on as many tokens.

The shape is that of table 1 in Vaswani et al. 2017 (arXiv:1706.03762), with measured speeds in place of its orders of
growth: n^2 d for self-attention, n d^2 for recurrence, k n d^2 for convolution. Only recurrence must go token by token,
in n steps; how much that costs depends on the machine.

What to expect of `:tiny`: with 4 tokens all have 98%. With 16 and 64 tokens convolution and GRU keep that; attention,
which has no hint that neighbours matter, has 95%, 3.4 and 4.3 points behind convolution (p = 0.04, and 0.07, which
shows no difference). 64 tokens take attention 19 times as long as 4 tokens, convolution 9 times, and GRU 15. With 16
tokens a step of GRU takes 1.5 times as long as one of attention, with as many multiplications: each token waits for the
one before. See results/mixers/; it took four minutes on two cores with AVX-512, one per run; speeds of runs beside
other work mean nothing. The full form has not been run yet.
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import digits, fashion_mnist
from configs.tables import with_seeds

MIXERS = {'attention': 'attention', 'convolution 3 x 3': 'conv', 'GRU, both ways': 'gru'}
FIGURE = {'x': 'tokens', 'scale': 'log', 'quantities': ('test_accuracy', 'images_per_second')}


def get_config(variant: str = '') -> ConfigDict:
    config = digits.get_config(variant) if variant == 'tiny' else fashion_mnist.get_config(variant)
    config.model.positions.name = 'sinusoidal_2d'
    return config


def sweep(variant: str = '') -> list[dict[str, Any]]:
    side, patch_sizes = (8, (4, 2, 1)) if variant == 'tiny' else (28, (14, 7, 4, 2))
    arms = {}
    for (label, mixer), patch_size in itertools.product(MIXERS.items(), patch_sizes):
        tokens = (side // patch_size) ** 2
        arms[f'{label}, {tokens} tokens'] = {
            'model.mixer': mixer,
            'model.patch_size': patch_size,
            'curve': label,
            'x': tokens,
            'against': None if mixer == 'attention' else f'attention, {tokens} tokens',
        }
    return with_seeds(arms, 5)
