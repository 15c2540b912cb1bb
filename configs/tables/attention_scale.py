"""Why are attention's logits divided by sqrt(head_dim)? With and without, as heads grow wider.

  python sweep.py --config=configs/tables/attention_scale.py:tiny --workdir=runs/attention_scale
  python -m analysis.heads --workdir=runs/attention_scale     # entropies: 0 where the softmax is saturated

Scale {sqrt_head_dim, none} x width {32, 64, 128} x heads {1, 2, 4, 8}, five seeds each: 120 runs, and a figure of
accuracy over head_dim = width / heads. Each arm without the scale is tested against the same arm with it. On
Fashion-MNIST (`python -m data.prepare fashion_mnist`); `:tiny` is the small model of configs/demo.py on scikit-learn's
digits.

Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1, suspect that large dot products push the softmax to where its
gradients are tiny, and give the reason in footnote 4: with entries of mean 0 and variance 1, q k has variance
head_dim. They print no table of it; this is one. Queries and keys start here with about those moments, since LayerNorm
and LeCun's initialisation come before them.

What to expect of `:tiny`: 90.9 to 95.5% with the scale, whatever head_dim. Without it, heads of up to 16 channels are
not shown to differ from those with it. Heads of 32 channels have means 2.8 to 4.0 points lower, which the test shows at
width 64 and 128 (p = 0.033; 0.26 at width 32). Heads of 64 reach 84 and 86% instead of 94, and one head of 128 reaches
74.2% instead of 93.6 (p of 0.033 or less for 64 and 128). Saturated heads follow roundings: on another CPU some runs
differ by points. See results/attention_scale/; it took 15 minutes on two cores that did other work too. The full form
has not been run yet.
"""

import itertools
from typing import Any

from ml_collections import ConfigDict

from configs import base, digits, fashion_mnist
from configs.tables import with_seeds

WIDTHS = (32, 64, 128)
HEADS = (1, 2, 4, 8)
FIGURE = {'x': 'head_dim, channels', 'scale': 'log', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    return digits.get_config(variant) if variant == 'tiny' else fashion_mnist.get_config(variant)


def sweep() -> list[dict[str, Any]]:
    arms = {}
    for scale, width, heads in itertools.product(base.ATTENTION_SCALES, WIDTHS, HEADS):
        size = f'width {width}, {heads} head{"s" * (heads > 1)}'
        arms[f'scale {scale}, {size}'] = {
            'model.attention_scale': scale,
            'model.embed_dim': width,
            'model.num_heads': heads,
            'curve': f'scale {scale}, width {width}',
            'x': width // heads,
            'against': f'scale sqrt_head_dim, {size}' if scale == 'none' else None,
        }
    return with_seeds(arms, 5)
