"""Learned tables of offsets: what a key is worth to a query, or says to it, by where it lies from there."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from models.positions.base import Offsets, Positions, Shape, positional_parameter
from models.positions.tables import interpolate

SPREAD = 0.02  # standard deviation of what the bias table starts from, as in Swin's own code


class RelativeBias(Positions):
    """`relative_bias`: a learned logit for each offset and head, B in softmax(q k^T / sqrt(d) + B) v.

    Liu et al. 2021 (Swin, arXiv:2103.14030), eq. 4, with a table for all offsets between trained places; each layer has
    its own. Offsets between entries are interpolated bilinearly (there bicubically); those beyond the table take its
    edge. Swin's windows are disjoint, with a table of (2 M - 1)^2 for M x M; `model.window` is centred on the query, so
    that window x window offsets occur. On a sequence it is the bias of T5 (Raffel et al. 2020) without buckets, and
    with a table for each layer.
    Parameters of a layer: heads x (2 rows - 1) x (2 columns - 1), or within a window heads x window x window; on a
    sequence, where a window may be even, heads x (2 tokens - 1) or heads x (2 floor(window / 2) + 1).
    """

    in_attention = True
    per_layer = True
    learned_places = True
    scores_content_free = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        size = tuple(2 * reach + 1 for reach in shape.reach)
        self.table = positional_parameter(SPREAD * jax.random.normal(rngs.params(), (*size, shape.num_heads)))

    def scores(self, q, k, offsets: Offsets) -> Float[Array, 'heads 1 *#blocks queries keys']:
        table = self.table[...]
        zero = np.array(table.shape[:2], np.float32) // 2
        return jnp.moveaxis(interpolate(table, offsets + zero), -1, 0)[:, None]


class RelativeVectors(Positions):
    """`relative_vectors`: the query times a learned vector for the offset's rows and one for its columns.

    Bello et al. 2019 (arXiv:1904.09925), eq. 3: logits q^T (k + r_columns + r_rows) / sqrt(d), the vectors shared by
    the heads, each layer its own. They start from N(0, 1 / head_dim): the paper's listing hands TensorFlow's
    initialiser head_dim^-1/2 where that takes the mean, and leaves the deviation at 1; the mean is nothing to the
    softmax, and we take it for the deviation. On a sequence these are the vectors that Shaw et al. 2018
    (arXiv:1803.02155), eq. 4, add to keys, clipped at the trained length rather than at a chosen k; theirs to values,
    eq. 3, are left out, their heads need not share, and the one vector for rows, which all keys share, changes nothing.
    Between entries and beyond the table as `relative_bias`.
    Each query meets the vector of each offset, as many products as with the keys; where all tokens see all on a grid, q
    times each vector once would do with fewer, and `model.match=flops` counts what is done.
    Parameters of a layer: (2 rows - 1 + 2 columns - 1) x head_dim, or within a window 2 window x head_dim; on a
    sequence of so many columns there is one row.
    """

    in_attention = True
    per_layer = True
    learned_places = True

    def __init__(self, shape: Shape, *, rngs: nnx.Rngs):
        rows, columns = (2 * reach + 1 for reach in shape.reach)
        spread = shape.head_dim**-0.5  # see above
        self.rows = positional_parameter(spread * jax.random.normal(rngs.params(), (rows, shape.head_dim)))
        self.columns = positional_parameter(spread * jax.random.normal(rngs.params(), (columns, shape.head_dim)))

    def scores(
        self,
        q: Float[Array, 'heads batch *blocks queries head_dim'],
        k: Float[Array, 'heads batch *blocks keys head_dim'],
        offsets: Offsets,
    ) -> Float[Array, 'heads batch *blocks queries keys']:
        rows, columns = self.rows[...][:, None], self.columns[...][None]
        zero = np.array([len(rows), columns.shape[1]], np.float32) // 2
        # One axis' table has one entry along the other, where every offset is that entry.
        vectors = interpolate(rows, offsets + zero) + interpolate(columns, offsets + zero)
        return jnp.einsum('hb...qd,...qkd->hb...qk', q, vectors.astype(q.dtype), preferred_element_type=jnp.float32)
