"""A convolution, written as attention: each head reads one place of the kernel.

  python -m analysis.convolution --kernel_size=3 --grid=7x7
  python -m analysis.convolution --workdir=runs/conv

prints how far such attention is from the convolution as its heads get sharper: for random weights, or for the first
layer of a trained run with model.mixer=conv.

Cordonnier et al. 2020 (arXiv:1911.03584), theorem 1: K^2 heads with relative positions can be any K x K convolution.
Two things belong to that. Where a head's place lies outside the grid, softmax gives its weight to the nearest token
inside: that is a convolution with edge padding. It is not the zero padding of models.mixers.Convolution, which equals
it in the interior alone, K // 2 tokens away from the border; to have that too, the grid must be surrounded by tokens of
zeros. And each head must be as wide as the convolution's narrower side: a layer that gives its K^2 heads
embed_dim / K^2 channels each can only be a convolution whose K^2 matrices have no higher rank.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from flax import nnx
from jaxtyping import Array, Float

from configs.errors import ConfigError
from experiment import command, folder
from experiment.validate import validate
from models.attention import attend
from models.patches import Grid, grid_coordinates, patch_grid
from models.positions import POSITIONS, NoPositions, Shape
from training.restore import restore_selected

SHARPNESSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
CHANNELS, IMAGES = 16, 4  # of the random weights, and of the random tokens
COLUMNS = ('sharpness', 'edge_padding', 'zero_padding', 'interior', 'zeros_around')
MOST_WEIGHTS = 1 << 27  # attention weights of all heads: 0.5 GiB

Kernel = Float[Array | np.ndarray, 'size size inputs outputs']  # flax's layout; size is odd
Bias = Float[Array | np.ndarray, 'outputs']
Sharpness = float | Float[Array, '']
Images = Float[Array | np.ndarray, 'batch rows columns inputs']


class ConvolutionalAttention(NamedTuple):
    """Content-free attention that computes a convolution: no queries, no keys, and per head a place and two maps."""

    positions: NoPositions  # 'gaussian'
    values: Float[Array, 'heads inputs head_dim']
    outputs: Float[Array, 'heads head_dim outputs']
    bias: Float[Array, 'outputs']


def attention_from_convolution(kernel: Kernel, bias: Bias, sharpness: Sharpness) -> ConvolutionalAttention:
    """The attention of K^2 heads that is the K x K convolution, in the limit of great `sharpness`.

    Cordonnier et al. 2020 (arXiv:1911.03584): by lemma 1 a convolution is a sum of heads that look at one offset each
    and apply its matrix of the kernel, here split into the values' map and the outputs' (one is the identity); by
    lemma 2 such heads are softmaxes of -sharpness / 2 |offset - centre|^2, with their alpha = sharpness / 2. A token
    that is one patch further from the centre gets exp(-sharpness / 2) of the weight or less.

    Raises:
      ValueError: the kernel has no centre.
    """
    size, _, inputs, outputs = kernel.shape
    if size % 2 == 0:
        raise ValueError(f'kernel of {size} x {size}: an odd size has a centre')
    heads, head_dim = size**2, min(inputs, outputs)
    positions = POSITIONS['gaussian'](Shape(heads * head_dim, heads, (size, size)), rngs=nnx.Rngs(0))
    positions.centres[...] = jnp.asarray(np.indices((size, size)).reshape(2, -1).T - size // 2, jnp.float32)
    positions.spreads[...] = jnp.broadcast_to(jnp.sqrt(sharpness) * jnp.eye(2), (heads, 2, 2))
    matrices = jnp.asarray(kernel).reshape(heads, inputs, outputs)
    identity = jnp.broadcast_to(jnp.eye(head_dim), (heads, head_dim, head_dim))
    values, output_maps = (identity, matrices) if inputs <= outputs else (matrices, identity)
    return ConvolutionalAttention(positions, values, output_maps, jnp.asarray(bias))


def attend_to_images(
    attention: ConvolutionalAttention, images: Images, zeros: int = 0
) -> Float[Array, 'batch rows columns outputs']:
    """What the attention makes of images of tokens, first surrounded by `zeros` rows and columns of zero tokens."""
    images = jnp.pad(images, ((0, 0), (zeros, zeros), (zeros, zeros), (0, 0)))
    batch, rows, columns, inputs = images.shape
    v = jnp.einsum('btc,hcd->hbtd', images.reshape(batch, -1, inputs), attention.values)
    mixed, _ = attend(None, None, v, attention.positions, grid_coordinates((rows, columns)))
    mixed = jnp.einsum('hbtd,hdo->bto', mixed, attention.outputs) + attention.bias
    return mixed.reshape(batch, rows, columns, -1)[:, zeros : rows - zeros, zeros : columns - zeros]


def convolve(kernel: Kernel, bias: Bias, images: Images, padding: str) -> Float[Array, 'batch rows columns outputs']:
    """The convolution itself. `padding`: 'constant' (zeros, as in models.mixers) or 'edge' (the nearest token)."""
    reach = kernel.shape[0] // 2
    images = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode=padding)
    layout = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(images, kernel, (1, 1), 'VALID', dimension_numbers=layout) + bias


def convolution_errors(kernel: Kernel, bias: Bias, images: Images, sharpnesses: Sequence[float]) -> pd.DataFrame:
    """How far the attention is from the convolution: the largest difference over the convolution's largest output.

    Returns:
      A row for each sharpness. Columns: sharpness; edge_padding (the convolution that the attention becomes);
      zero_padding (another at the border: this does not vanish) and its interior (NaN where the grid has none);
      zeros_around (zero padding again, from attention over a grid with K // 2 tokens of zeros on each side).
    """
    with jax.default_matmul_precision('float32'):  # accelerators would take less
        rows = [{'sharpness': sharpness, **_errors(kernel, bias, images, sharpness)} for sharpness in sharpnesses]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=float)


@jax.jit
def _errors(kernel: Kernel, bias: Bias, images: Images, sharpness: Sharpness) -> dict[str, Array]:
    reach = kernel.shape[0] // 2
    inside = (slice(None), slice(reach, images.shape[1] - reach), slice(reach, images.shape[2] - reach))
    edge, zero = (convolve(kernel, bias, images, padding) for padding in ('edge', 'constant'))
    attention = attention_from_convolution(kernel, bias, sharpness)
    plain, widened = attend_to_images(attention, images), attend_to_images(attention, images, zeros=reach)
    pairs = {
        'edge_padding': (plain, edge),
        'zero_padding': (plain, zero),
        'interior': (plain[inside], zero[inside]),
        'zeros_around': (widened, zero),
    }
    return {
        name: jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)) if theirs.size else jnp.nan
        for name, (ours, theirs) in pairs.items()
    }


def first_convolution(workdir: Path) -> tuple[Kernel, Bias, Grid]:
    """Kernel and bias of the first layer of a trained run, and the grid that it works on.

    A depthwise kernel comes as the full one that it stands for.

    Raises:
      ConfigError: the run has no convolution on patches, or no checkpoint.
    """
    config = folder.read_config(workdir)
    what = f'model.mixer={config.model.mixer}' if config.model.name == 'backbone' else f'model.name={config.model.name}'
    if what not in ('model.mixer=conv', 'model.mixer=depthwise_conv'):
        raise ConfigError(f'--workdir={workdir}: {what} has no convolution of patches; model.mixer=conv would do')
    spec = validate(config, to_train=False)
    _, params, _ = restore_selected(config, spec, workdir)
    layer = params['blocks'][0]['mixer']['conv']
    kernel, bias = np.asarray(layer['kernel']), np.asarray(layer['bias'])
    if config.model.mixer == 'depthwise_conv':
        kernel = kernel * np.eye(len(bias), dtype=kernel.dtype)
    return kernel, bias, patch_grid(spec.image_shape, config.model.patch_size)


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


def main() -> None:
    report(flags.FLAGS.workdir, flags.FLAGS.kernel_size, flags.FLAGS.grid)


if __name__ == '__main__':
    # Here, since the flags of a module that is only imported would stand in the way of other commands'.
    flags.DEFINE_string('workdir', None, 'Folder of a run with model.mixer=conv; without it, weights are random.')
    flags.DEFINE_integer('kernel_size', None, 'Tokens; odd. Default: 3.', lower_bound=1)
    flags.DEFINE_string('grid', None, 'Rows x columns of tokens. Default: 7x7, or that of the run.')
    command.run(main)
