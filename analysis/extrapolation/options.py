"""What is asked of the runs, as typed: sides of images, and policies; and whether the runs can be asked it."""

import math
from collections.abc import Sequence

from analysis.extrapolation.scores import Ready
from configs.errors import ConfigError

POLICIES = {
    'extend': 'patches keep the trained spacing, and larger images reach beyond the trained range',
    'rescale': 'patches fill the trained range, whatever the size of the image',
}
MOST_TOKENS = 16_384  # of an image; attention weights of one head are then a gigabyte
MOST_PIXELS = 4_096  # of a side


def parse_resolutions(texts: Sequence[str]) -> list[int]:
    """Whole numbers from 1, ascending, each once. Raises ConfigError."""
    try:
        sides = sorted({int(text) for text in texts})
    except ValueError:
        sides = []
    if not sides or sides[0] < 1:
        raise ConfigError(f'--resolutions={",".join(texts)}: sides in pixels would do, such as --resolutions=28,56')
    return sides


def parse_policies(names: Sequence[str] | None) -> list[str]:
    """Some of POLICIES, each once; None means all. Raises ConfigError."""
    policies = list(dict.fromkeys(POLICIES if names is None else names))
    if not policies or not set(policies) <= POLICIES.keys():
        raise ConfigError(f'--coordinates={",".join(policies)}: {", ".join(POLICIES)} or {",".join(POLICIES)} would do')
    return policies


def check_resolutions(ready: Sequence[Ready], sides: Sequence[int]) -> None:
    """Raises ConfigError when images of a side cannot be made, or not cut into the patches of every run."""
    for one in ready:
        height, width, _ = one.spec.image_shape
        if height != width:
            raise ConfigError(
                f'--resolutions are of squares, and {one.spec.name} images are {height} x {width} pixels; '
                'runs trained with data.image_size set would do'
            )
    sizes = sorted({one.config.model.patch_size for one in ready if one.has_tokens})
    multiple = math.lcm(*sizes)
    most = max((one.patches(sides[-1]) for one in ready if one.has_tokens), default=0)
    if most > MOST_TOKENS:
        raise ConfigError(
            f'--resolutions={sides[-1]} makes {most:,} tokens of an image; sizes with {MOST_TOKENS:,} or fewer would do'
        )
    if sides[-1] > MOST_PIXELS:
        raise ConfigError(f'--resolutions={sides[-1]} is more than {MOST_PIXELS:,} pixels; that or fewer would do')
    # A ResNet has no patches; the figure counts its images in them.
    largest = max((one.config.model.patch_size for one in ready if not one.has_tokens), default=1)
    if sides[0] < largest:
        raise ConfigError(f'--resolutions={sides[0]} is less than model.patch_size={largest}; that or more would do')
    for side in sides:
        if side % multiple:
            fitting = sorted({side // multiple * multiple or multiple, (side // multiple + 1) * multiple})
            raise ConfigError(
                f'--resolutions={side} is no multiple of model.patch_size={" and ".join(map(str, sizes))}; '
                f'{" or ".join(map(str, fitting))} would do'
            )
