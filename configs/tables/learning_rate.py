"""Is an arm better, or does the shared learning rate suit its kind? The demo's arms, each at the best of five rates.

  python sweep.py --config=configs/tables/learning_rate.py:tiny --workdir=runs/learning_rate

Encodings {none, sinusoidal_2d, learned_1d, rnn} x heads {1, 4}, the convolution of the same backbone and ResNet-18 at a
quarter of its width, each at 1/4, 1/2, 1, 2 and 4 times the learning rate that other tables on the same data give to
every arm; five seeds each: 250 runs. `tuned` in the rows of `sweep()` makes the table report each arm at the rate
with the highest mean accuracy on validation, and list the rates that it did not choose. On Fashion-MNIST
(`python -m data.prepare fashion_mnist`); `:tiny` has the data and the budget of configs/demo.py.

Choi et al. 2019 (arXiv:1910.05446) show that a ranking of optimisers may change with how each was tuned, by widening
the space that each is tuned over; here the same is asked of models, with one optimiser, over its rate alone.

What to expect of `:tiny`: the convolution is first, as in the demo, with 99.1%; then come the ResNet with 97.7%,
attention with positions with 94.4 to 97.4%, and without with 75.6 and 77.3%. The test shows all others to differ from
the convolution (p of 0.032 or less), and each encoding from `none`, by 18 to 21 points (p < 0.001). For six of eight
arms of attention the best rate is twice the demo's, for the convolution four times; they gain up to 2.7 and 0.7 points
of test accuracy. The ResNet's five rates differ by 0.7 points on validation, so that another CPU's roundings choose
another. See results/learning_rate/; it took 17 minutes on two cores that did other work too. The full form has not been
run yet.
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
