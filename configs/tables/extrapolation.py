"""Which positions still work on images larger than any in training?

  python -m data.prepare fashion_mnist
  python sweep.py --config=configs/tables/extrapolation.py:tiny --workdir=runs/extrapolation
  python eval.py --workdir=runs/extrapolation --resolutions=28,42,56 --coordinates=extend,rescale

`none` and eight encodings, trained on images of 28 pixels, five seeds each: 45 runs. Each encoding is tested against
`none`. The last command enlarges the test images, so that there are more patches of the trained size, and gives the new
places coordinates in two ways: `extend` continues beyond the trained range, `rescale` squeezes all places into it.
`:tiny` has 16 patches of 7 x 7, and 800 steps of 128 images; the full form has patches of 4, which tile 28, 40 and 56
pixels.

The shape is that of figure 1 in Press et al. 2022 (arXiv:2108.12409), quality over length beyond the trained one, and
of the multi-resolution figures in Heo et al. 2024 (arXiv:2403.13298). It differs in the images: enlarged ones hold no
more detail than small ones, so what changes is the number of tokens and the size of things, not what there is to see.

What to expect of `:tiny`: 81.6 to 85.3% at the trained size, with every encoding ahead of `none` by the test. On larger
images all are far lower, since they are not what was trained on. On 64 tokens with `extend`, only `alibi_2d` (51.0%) is
ahead of `none` (43.7%); `sinusoidal_2d` (25.2%) and `conditional` (26.5%), the latter best at the trained size, fall
most. `rescale` brings the encodings that are added (`sinusoidal_2d`, `learned_2d`, `fourier`) to 52 to 56% and the
rotary ones to 58 and 59%, all ahead of `none`. It changes nothing for `none`, nor for `conditional`, which reads
coordinates only for the order of the tokens. See results/extrapolation/; it took 28 minutes beside other work, and
twelve for the last command, on two cores. The full form has not been run yet.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base, fashion_mnist
from configs.tables import with_seeds

POSITIONS = (
    *('none', 'sinusoidal_2d', 'learned_2d', 'fourier', 'conditional'),
    *('relative_bias', 'alibi_2d', 'rope_axial', 'rope_mixed'),
)


def get_config(variant: str = '') -> ConfigDict:
    config = fashion_mnist.get_config(variant)
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.train.steps = 800
    config.checkpoint.count = 2


def sweep() -> list[dict[str, Any]]:
    arms = {name: {'model.positions.name': name, 'against': None if name == 'none' else 'none'} for name in POSITIONS}
    return with_seeds(arms, 5)
