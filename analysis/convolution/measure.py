"""How far such attention is from the convolution, by how sharp its heads are and by what is beyond the border."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Float

from analysis.convolution.attention import Bias, Images, Kernel, Sharpness, attend_to_images, attention_from_convolution

COLUMNS = ('sharpness', 'edge_padding', 'zero_padding', 'interior', 'zeros_around')


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
