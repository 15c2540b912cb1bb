"""Linear biases: the further a key, the less a query looks there. Nothing is learned."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.positions.base import Offsets, Positions, Shape

DIRECTIONS = 4  # down, right, up, left


class ALiBi2D(Positions):
    """`alibi_2d`: a logit that falls linearly with the distance, with a slope for each head and direction.

    Press et al. 2022 (arXiv:2108.12409), section 3: -m |i - j| in causal attention to text, one slope m for each head,
    in a geometric sequence. Looking both ways with one slope cannot tell left from right, and takes an image for its
    mirror image; different slopes for different directions are one of three ways that its first author proposes for
    encoders (github.com/ofirpress/attention_with_linear_biases, issue 5). The form for images is this repository's own:
    four directions, whose distances add up, and the paper's sequence for 4 H heads, 2^(-8 j / (4 H)), whatever H is
    (their code interleaves two where it is no power of two), dealt out so that head h = 1..H has j = h, h + H, h + 2 H,
    h + 3 H, and which of these falls to which direction turns from head to head. No parameters.
    """

    in_attention = True
    scores_content_free = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        heads = np.arange(shape.num_heads)[:, None]
        turned = (np.arange(DIRECTIONS) - heads) % DIRECTIONS
        exponents = -8 * (heads + 1 + turned * shape.num_heads) / (DIRECTIONS * shape.num_heads)
        self.slopes = tuple(map(tuple, (2.0**exponents).tolist()))

    def scores(self, q, k, offsets: Offsets) -> Float[Array, 'heads 1 *#blocks queries keys']:
        ways = jnp.moveaxis(jnp.concatenate([jnp.maximum(offsets, 0), jnp.maximum(-offsets, 0)], axis=-1), -1, 0)
        # Sums rather than a matrix product, whose inputs some accelerators round.
        logits = [-sum(slope * way for slope, way in zip(head, ways, strict=True)) for head in self.slopes]
        return jnp.stack(logits)[:, None]
