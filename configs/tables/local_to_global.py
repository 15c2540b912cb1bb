"""From convolution to attention in steps: a 3 x 3 kernel, then windows of 3, 5 and 7, then all tokens.

  python sweep.py --config=configs/tables/local_to_global.py:tiny --workdir=runs/local_to_global

Nine arms of one backbone, five seeds each, and a figure of accuracy over reach. On Fashion-MNIST
(`python -m data.prepare fashion_mnist`), 49 patches of 4 x 4; `:tiny` has 48 channels, three blocks, and
500 steps of 64 images.

The first step changes what a token does with its eight neighbours, but not which tokens those are; the other steps
change only the reach. All are taken twice, since what they cost depends on the positions: with `relative_bias`, from
which a head knows where a neighbour lies relative to the token, as a kernel does; and with `sinusoidal_2d`, from which
it knows each token's place. (A kernel also knows the borders of the image, from its zero padding. A token near them
sees fewer tokens: windows are cut off.)

The shape is that of the ablation of spatial extent in Ramachandran et al. 2019 (arXiv:1906.05909, section 4), with its
convolutional baseline beside it. It differs in the backbone (theirs is ResNet-50, on ImageNet) and in the last arm,
which has no window. A 3 x 3 kernel has nine matrices where attention has four: `--config.model.match=params` makes up
for that. (`flops` makes up for less: FLOPs are counted as computed, and a window computes pairs of tokens that it then
masks.) The table tests windows of 3 x 3 against the convolution, and wider ones against windows of 3 x 3.

What to expect of `:tiny`: 76.6% with the convolution; with windows of 3, 5 and 7 and with all tokens 77.7, 77.3, 77.0
and 76.1% with `sinusoidal_2d`, and 74.4, 74.2, 73.4 and 69.1% with `relative_bias`; intervals extend 0.4 to 0.9 points
to either side. With `relative_bias`, attention in windows of 3 is behind the convolution, and attention to all tokens
is behind attention in those windows (p < 0.001 for both); the test does not distinguish the other differences from
zero. See results/local_to_global/; it took half an hour on two cores that did other work too. The full form has not
been run yet.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base, fashion_mnist
from configs.tables import with_seeds

POSITIONS = ('relative_bias', 'sinusoidal_2d')
FIGURE = {'x': 'what a token sees in a layer', 'scale': 'category', 'quantities': ('test_accuracy',)}


def get_config(variant: str = '') -> ConfigDict:
    config = fashion_mnist.get_config(variant)
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.model.patch_size = 4
    config.model.embed_dim = 48
    config.model.depth = 3
    config.train.steps = 500
    config.train.batch_size = 64


def sweep() -> list[dict[str, Any]]:
    label = 'convolution 3 x 3'
    arms = {label: {'model.mixer': 'conv', 'model.positions.name': 'none', 'curve': 'convolution', 'x': '3 x 3'}}
    for positions in POSITIONS:
        for window in (3, 5, 7, None):
            reach = 'all tokens' if window is None else f'{window} x {window}'
            arms[f'attention, {positions}, {reach}'] = {
                'model.window': window,
                'model.positions.name': positions,
                'curve': f'attention, {positions}',
                'x': reach,
                # The first step is from the kernel to attention, the others from its window to wider ones.
                'against': label if window == 3 else f'attention, {positions}, 3 x 3',
            }
    return with_seeds(arms, 5)
