"""Attention as a blurred convolution: each head looks at a place beside the query, more or less sharply."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.positions.base import Offsets, Positions, Shape, positional_parameter

CENTRE_SPREAD = 2.0  # patches; standard deviation of the first centres, as in the authors' code
MATRIX_SPREAD = 0.01  # and of what is added to the identity


class Gaussian(Positions):
    """`gaussian`: logits quadratic in the offset d, -|A (d - c)|^2 / 2, with a learned centre c and matrix A per head.

    Cordonnier et al. 2020 (arXiv:1911.03584), eq. 9 with a full covariance, their code's second variant
    (github.com/epfml/attention-cnn, quadratic-generalized; the first is isotropic): the softmax of such logits is a
    Gaussian around c with covariance (A^T A)^-1, and as it sharpens the head reads one place, as one tap of a
    convolution does. With `positions.content` False by position alone, as there; else beside q k^T. There each head
    mixes all d channels, so that a tap is any d x d matrix; here a head has d / heads of them, and a layer is a
    convolution of as many taps as it has heads, each of rank d / heads at most (analysis.convolution builds wider
    heads). Each layer has its own. Parameters of a layer: heads x (2 + 4).
    """

    in_attention = True
    per_layer = True
    scores_content_free = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        heads = shape.num_heads
        self.centres = positional_parameter(CENTRE_SPREAD * jax.random.normal(rngs.params(), (heads, 2)))
        noise = MATRIX_SPREAD * jax.random.normal(rngs.params(), (heads, 2, 2))
        self.spreads = positional_parameter(jnp.eye(2) + noise)

    def scores(self, q, k, offsets: Offsets) -> Float[Array, 'heads 1 *#blocks queries keys']:
        def of_head(centre: Float[Array, '2'], matrix: Float[Array, '2 2']) -> Float[Array, '*#blocks queries keys']:
            row, column = jnp.moveaxis(offsets - centre, -1, 0)
            along = (a * row + b * column for a, b in matrix)
            return -sum(part * part for part in along) / 2

        return jax.vmap(of_head)(self.centres[...], self.spreads[...])[:, None]
