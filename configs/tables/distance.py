"""How far apart may two things be that belong together? Attention, in windows and whole, and convolution by distance.

  python sweep.py --config=configs/tables/distance.py:tiny --workdir=runs/distance

Two handwritten digits on an empty grid are of one class, or not (configs/digit_pairs.py): a relation, of which neither
digit tells anything by itself. Four mixers of one backbone of two blocks x how many cells the two are apart, five seeds
each: attention to all tokens, in windows of 5 x 5 and of 3 x 3, and a 3 x 3 convolution, none of them told positions.
Each is tested against attention to all tokens at the same distance. A grid of 12 x 12; `:tiny` has 6 x 6, a fifth of
the images, and 1,500 steps of 64.

A block with a reach of r tokens lets two meet in one between them that are 2 r apart, and two blocks 4 r: what is
further apart adds up in the logits, whatever the params (tests/models/test_backbone.py holds that to be so), and a sum
has nothing to find here (data/digit_pairs.py). So mixers of 3 x 3, of which r is 1, cannot learn a distance of 5, and
5 x 5 could learn all of `:tiny`'s. What is learned of that is the table's question. Attention to all tokens without
positions is a function of a set: distance cannot matter to it, and its arms are one experiment up to rounding, the
ceiling for the others.

The task is after the same-different problem of Kim, Ricci & Serre 2018 (arXiv:1802.03390), which strained their CNNs;
the table asks what Pathfinder does in Tay et al. 2021 (arXiv:2011.04006), whether what lies far apart can be related,
here by a distance that is set.

What to expect of `:tiny`: attention to all tokens comes to 94 to 95%. Windows of 3 x 3 and 5 x 5 are not told from it
as far as one block relates two digits, to distances of 2 and 3; where it takes both blocks, at 3 and 5, two seeds of
five learn it; 3 x 3 has 51% at 5. Convolution has 50% at any distance: where its kernel reaches it does not begin to
learn on this budget, which it does with digits side by side on a grid of 3 x 3, in four times the steps
(results/distance/; 22 minutes on two cores that did other work too). The full form was not run so far.
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
