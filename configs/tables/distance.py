"""How far apart may two things be that belong together? Full and windowed attention and convolution, over distance.

  python sweep.py --config=configs/tables/distance.py:tiny --workdir=runs/distance

Two handwritten digits on an empty grid are of one class, or not (configs/digit_pairs.py): a relation, about which
neither digit says anything by itself. Four mixers of one backbone of two blocks x the distance of the digits in cells,
five seeds each: attention to all tokens, in windows of 5 x 5 and of 3 x 3, and a 3 x 3 convolution, all without
positions. Each is tested against attention to all tokens at the same distance. A grid of 12 x 12; `:tiny` has 6 x 6, a
fifth of the images, and 1,500 steps of 64.

If a block reaches r tokens each way, one block lets two tokens that are up to 2 r apart meet in a token between them,
and two blocks let tokens up to 4 r apart meet. Tokens further apart only add up in the logits, whatever the params
(tests/models/test_backbone.py checks that), and a sum has nothing to find here (data/digit_pairs.py). So mixers of
3 x 3, where r is 1, cannot learn a distance of 5, and 5 x 5 could learn all distances of `:tiny`. How much of that is
learned is the table's question. Attention to all tokens without positions is a function of a set: distance cannot
matter to it, so its arms are one experiment up to rounding, the ceiling for the others.

The task follows the same-different problem of Kim, Ricci & Serre 2018 (arXiv:1802.03390), which strained their CNNs.
The table asks what Pathfinder asks in Tay et al. 2021 (arXiv:2011.04006), whether things far apart can be related, here
at a distance that is set.

What to expect of `:tiny`: attention to all tokens reaches 94 to 95%. Windows are not shown to differ from it where one
block relates two digits: up to a distance of 2 with 3 x 3, and of 3 with 5 x 5. Where two blocks are needed, at 3 with
3 x 3 and at 5 with 5 x 5, two seeds of five learn it (one with 3 x 3 to 74% only), and seeds vary so much that no
difference is shown either (p = 0.11 and 0.24). Windows of 3 x 3 at a distance of 5, with 51%, and convolution at any
distance, with 50%, are behind (p < 0.001). Even where its kernel reaches, convolution does not begin to learn on this
budget; with digits side by side on a grid of 3 x 3 it does, in four times the steps and with three times the pictures.
See results/distance/; it took 22 minutes on two cores that did other work too. The full form has not been run yet.
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
