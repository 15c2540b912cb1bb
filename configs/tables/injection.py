"""Where should absolute codes be added: to the patches once, or before every layer?

  python sweep.py --config=configs/tables/injection.py:tiny --workdir=runs/injection

Eight absolute encodings x {stem, every_layer, every_layer_shared}, and `none`; five seeds each. Codes without
parameters are the same in every layer, so every_layer is left out for them: 115 runs. On Fashion-MNIST
(`python -m data.prepare fashion_mnist`); `:tiny` is the small model of configs/demo.py on scikit-learn's digits.

The shape is that of table 8 (appendix D.4) in Dosovitskiy et al. 2021 (arXiv:2010.11929): a row for each encoding, a
column for each place to add it. It differs in the data (theirs is ImageNet, few-shot), in having eight encodings for
their two absolute ones, and in leaving out their relative one, which has no stem to be added to.

What to expect of `:tiny`: 77.3% with `none`; 94.3 to 97.7% with any encoding, wherever it is added. Means of one
encoding differ by 1.3 points at most by where it is added, and the fourteen tests against `stem` show no difference (p
of 0.39 or more; the intervals reach 3.0 points). See results/injection/; it took seven minutes on two cores that did
other work too. The full form has not been run yet.
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import base, digits, fashion_mnist
from configs.tables import with_seeds

WITHOUT_PARAMETERS = ('sinusoidal_1d', 'sinusoidal_2d')
POSITIONS = (*WITHOUT_PARAMETERS, 'learned_1d', 'learned_2d', 'fourier', 'mlp', 'rnn', 'ode')
FIGURE = {'x': 'where codes are added', 'scale': 'category', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    return digits.get_config(variant) if variant == 'tiny' else fashion_mnist.get_config(variant)


def sweep() -> list[dict[str, Any]]:
    arms: dict[str, dict[str, Any]] = {'none': {'model.positions.name': 'none'}}
    for name, inject in itertools.product(POSITIONS, base.INJECTIONS):
        if name in WITHOUT_PARAMETERS and inject == 'every_layer':
            continue
        arms[f'{name}, {inject}'] = {
            'model.positions.name': name,
            'model.positions.inject': inject,
            'curve': name,
            'x': inject,
            'against': None if inject == 'stem' else f'{name}, stem',
        }
    return with_seeds(arms, 5)
