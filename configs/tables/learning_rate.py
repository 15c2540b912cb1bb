"""Is an arm better, or is the learning rate that of its kind? The demo's arms, each at the best of five rates.

  python sweep.py --config=configs/tables/learning_rate.py:tiny --workdir=runs/learning_rate

Positions {none, sinusoidal_2d, learned_1d, rnn} x heads {1, 4}, the convolution of the same backbone and ResNet-18 at a
quarter of its width, each at 1/4, 1/2, 1, 2 and 4 times the learning rate that other tables on the same data give to
every arm; five seeds each: 250 runs. `tuned` in the rows of `sweep()` has the table report, for each arm, the rate
with the highest mean accuracy on validation, and name what it left. On Fashion-MNIST (`python -m data.prepare
fashion_mnist`); `:tiny` is configs/demo.py's data and budget.

That a ranking may turn with how each arm was tuned is what Choi et al. 2019 (arXiv:1910.05446) show of optimisers, by
widening the space that each is tuned over; here it is asked of models, with one optimiser, over its rate alone.

What to expect of `:tiny`: the convolution is first as in the demo, with 99.1%, then the ResNet with 97.9%, attention
with positions 94.7 to 97.4%, without 75.4 and 77.3%. All are told from the first (p of 0.03 or less), and each position
from none, by 18 to 21 points (p < 0.001). Seven of eight arms of attention prefer twice the demo's rate, and gain up to
2.8 points of test accuracy by it; the convolution and the ResNet prefer four times, an end of the range, and gain 0.7
and 0.1 (results/learning_rate/; 13 minutes on two cores that did other work too). The full form was not run so far.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import demo, digits, fashion_mnist
from configs.tables import with_seeds

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def get_config(variant: str = '') -> ConfigDict:
    return digits.get_config(variant) if variant == 'tiny' else fashion_mnist.get_config(variant)


def sweep(variant: str = '') -> list[dict[str, Any]]:
    written = get_config(variant).train.learning_rate
    rates = [{'train.learning_rate': factor * written, 'tuned': 'train.learning_rate'} for factor in FACTORS]
    return [row | rate for row in with_seeds(demo.arms(), 5) for rate in rates]
