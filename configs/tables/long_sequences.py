"""Long sequences need truncated attention: what does a window save as the sequence grows, and what does it cost?

python sweep.py --config=configs/tables/long_sequences.py:tiny --workdir=runs/long_sequences
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import base, digit_pairs
from configs.tables import with_seeds

WINDOWS = {'all tokens': None, 'windows of 3 x 3': 3}
FIGURE = {'x': 'tokens', 'scale': 'log', 'quantities': ('test_accuracy', 'images_per_second')}


def get_config(variant: str = '') -> ConfigDict:
    config = digit_pairs.get_config()
    config.data.digit_pairs.distance = 1
    base.choose(variant, tiny=lambda config: None)(config)
    return config


def sweep(variant: str = '') -> list[dict[str, Any]]:
    arms = {}
    for (label, window), grid in itertools.product(WINDOWS.items(), (4, 8, 16) if variant == 'tiny' else (8, 16, 32)):
        arms[f'{label}, {grid**2} tokens'] = {
            'data.digit_pairs.grid': grid,
            'model.window': window,
            'curve': label,
            'x': grid**2,
            'against': None if window is None else f'all tokens, {grid**2} tokens',
        }
    return with_seeds(arms, 5)
