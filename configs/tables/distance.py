"""How far apart may two things be that belong together? Attention and convolution by the distance of what they compare.

python sweep.py --config=configs/tables/distance.py:tiny --workdir=runs/distance
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import base, digit_pairs
from configs.tables import with_seeds

MIXERS = {
    'attention, all tokens': {},
    'attention, 5 x 5': {'model.window': 5},
    'attention, 3 x 3': {'model.window': 3},
    'convolution 3 x 3': {'model.mixer': 'conv'},
}
FIGURE = {'x': 'cells from one digit to the other', 'scale': 'log', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    config = digit_pairs.get_config()
    config.data.digit_pairs.grid = 12
    config.data.digit_pairs.train_examples = 100_000
    config.train.steps = 10_000
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.data.digit_pairs.grid = 6
    config.data.digit_pairs.train_examples = 20_000
    config.train.steps = 1_500


def sweep(variant: str = '') -> list[dict[str, Any]]:
    arms = {}
    for (mixer, fields), distance in itertools.product(
        MIXERS.items(), (1, 2, 3, 5) if variant == 'tiny' else (1, 2, 4, 8)
    ):
        arms[f'{mixer}, {distance} apart'] = fields | {
            'data.digit_pairs.distance': distance,
            'curve': mixer,
            'x': distance,
            'against': None if not fields else f'attention, all tokens, {distance} apart',
        }
    return with_seeds(arms, 5)
