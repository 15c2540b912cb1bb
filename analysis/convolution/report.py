"""The command's choice of a convolution, and what `analysis.convolution.measure` found of it, as a table."""

import re
from pathlib import Path

import numpy as np

from analysis.convolution.measure import convolution_errors
from analysis.convolution.trained import first_convolution
from configs.errors import ConfigError
from models.patches import Grid

SHARPNESSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
CHANNELS, IMAGES = 16, 4  # of the random weights, and of the random tokens
MOST_WEIGHTS = 1 << 27  # attention weights of all heads: 0.5 GiB


def report(workdir: str | None, kernel_size: int | None, grid: str | None) -> None:
    """Prints `convolution_errors` of random weights, or of those of a run.

    Raises:
      ConfigError: a size is none, is too large, or is another than the run's.
    """
    shape = _parse_grid(grid) if grid else None
    draws = np.random.default_rng(0)
    if workdir:
        kernel, bias, trained = first_convolution(Path(workdir))
        if kernel_size not in (None, len(kernel)):
            raise ConfigError(f'--kernel_size={kernel_size}: the run has {len(kernel)}; leave one of the flags out')
        shape, whose = shape or trained, f'the first of {workdir}'
    else:
        size, shape, whose = kernel_size or 3, shape or (7, 7), 'of random weights'
        if size % 2 == 0:
            raise ConfigError(f'--kernel_size={size} has no centre; {size - 1} or {size + 1} would do')
        kernel = draws.normal(size=(size, size, CHANNELS, CHANNELS)) / (size * CHANNELS**0.5)
        kernel, bias = kernel.astype(np.float32), draws.normal(size=CHANNELS).astype(np.float32)
    size = len(kernel)
    if (size * (shape[0] + size - 1) * (shape[1] + size - 1)) ** 2 > MOST_WEIGHTS:
        raise ConfigError(
            f'--grid={shape[0]}x{shape[1]} with the {size**2} heads of --kernel_size={size} is too large; '
            'smaller ones would do'
        )
    images = draws.normal(size=(IMAGES, *shape, kernel.shape[2])).astype(np.float32)
    errors = convolution_errors(kernel, bias, images, SHARPNESSES)

    print(f'{size} x {size} convolution ({whose}) as attention of {size**2} heads, on {shape[0]} x {shape[1]} tokens.')
    print('Largest error over the largest output, with standard normal tokens:\n')
    errors.columns = [name.replace('_', ' ') for name in errors]
    sharp = {'sharpness': '{:g}'.format}
    print(errors.to_string(index=False, float_format='{:.1e}'.format, formatters=sharp, na_rep='-'))
    print(
        '\nSharp attention is the convolution with edge padding. The one with zero padding differs at the border, so '
        'attention\nequals it in the interior, or everywhere once the grid has zeros around.'
    )


def _parse_grid(grid: str) -> Grid:
    match = re.fullmatch(r'0*([1-9]\d{0,5})x0*([1-9]\d{0,5})', grid)
    if not match:
        raise ConfigError(f'--grid={grid} is no grid of tokens; rows x columns such as 7x7 would do')
    return int(match[1]), int(match[2])
