"""Multi-head scaled dot-product attention, full and windowed."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from models import fused, windows
from models.layers import Dense
from models.patches import Coordinates, in_raster_order, raster_order
from models.positions import Positions, scores_by_head
from models.positions.base import Heads
from models.products import join_heads, mixture, products, softmax, split_heads

OUTSIDE = -1e30  # added to the logit of a key that a query may not see; finite: a row with nothing to see is no NaN


def dot_product_attention(
    q: Float[Array, 'heads batch *blocks queries head_dim'] | None,
    k: Float[Array, 'heads batch *blocks keys head_dim'] | None,
    v: Float[Array, 'heads batch *blocks keys value_dim'],
    *,
    scores: Float[Array | np.ndarray, '...'] | float = 0.0,
    mask: Bool[Array | np.ndarray, '*#blocks #queries keys'] | None = None,
) -> tuple[Float[Array, 'heads batch *blocks queries value_dim'], Float[Array, 'heads #batch *blocks queries keys']]:
    """softmax(q k^T + scores) v over the keys that `mask` allows, and the weights.

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; queries come scaled. Without q and k the scores stand alone, and
    the weights are one for the whole batch. Logits and softmax are float32 whatever the compute type; weights return
    in the compute type. Heads lead so that both products are one batched matrix product over contiguous memory.

    Raises:
      ValueError: there are no queries, and the scores are not [heads, 1, *blocks, queries, keys].
    """
    if q is None and np.shape(scores)[1:2] != (1,):
        raise ValueError(f'scores={np.shape(scores)}: without queries and keys their second axis, of images, is 1')
    logits = scores
    if q is not None:
        logits = products(q, k) + scores
    if mask is not None:
        logits = logits + hide(mask)
    weights = softmax(logits, v.dtype)
    if q is None:
        return jnp.einsum('h...qk,hb...kd->hb...qd', weights[:, 0], v), weights
    return mixture(weights, v), weights


def hide(mask: Bool[Array | np.ndarray, '...']) -> Float[Array | np.ndarray, '...']:
    """The scores that do what a mask says.

    Added rather than selected by: a sum has no backward pass over the logits, and is a fifth faster for 256 tokens.
    """
    where = np.where if isinstance(mask, np.ndarray) else jnp.where
    return where(mask, np.float32(0), np.float32(OUTSIDE))


def attend(
    q: Heads | None,
    k: Heads | None,
    v: Heads,
    positions: Positions,
    coordinates: Coordinates,
    window: int | None = None,
    kernel: str = 'xla',
) -> tuple[Heads, Float[Array, 'heads #batch tokens tokens']]:
    """Attention of every token to every token, or within its window, with the scores of `positions`.

    A window is of the grid, as a convolution's kernel is: see models.windows. Where that costs less it is computed
    block by block, with the same result; its weights are spread out to [tokens, tokens] only if somebody reads them.
    The kernel 'cudnn', where models.fused lets it be, has none to give; whoever reads them has them computed beside it.
    """
    grid = coordinates.grid
    if window is None or windows.sees_all(grid, window):
        scores = scores_by_head(positions, q, k, windows.offsets(coordinates), len(v))
        mixed, weights = dot_product_attention(q, k, v, scores=scores)
        return (fused.fused_attention(q, k, v) if kernel == 'cudnn' else mixed), weights
    order = raster_order(coordinates)
    if order is not None:
        q, k, v = (None if x is None else jnp.take(x, order, axis=2) for x in (q, k, v))
        mixed, weights = attend(q, k, v, positions, in_raster_order(coordinates), window)
        back = jnp.argsort(order)
        return jnp.take(mixed, back, axis=2), weights[:, :, back][..., back]
    tiling = windows.plan(grid, window)
    if tiling is not None:
        return attend_in_blocks(q, k, v, positions, coordinates, tiling)
    scores = scores_by_head(positions, q, k, windows.offsets(coordinates), len(v))
    return dot_product_attention(q, k, v, scores=scores, mask=windows.neighbours(grid, window))


def attend_in_blocks(
    q: Heads | None,
    k: Heads | None,
    v: Heads,
    positions: Positions,
    coordinates: Coordinates,
    tiling: windows.Tiling,
) -> tuple[Heads, Float[Array, 'heads #batch tokens tokens']]:
    """Attention within the windows of a tiling, of tokens in raster order; time and memory are linear in tokens."""
    q = None if q is None else windows.query_blocks(q, tiling)
    k, v = (None if x is None else windows.key_blocks(x, tiling) for x in (k, v))
    near, inside = windows.block_masks(tiling)
    scores = scores_by_head(positions, q, k, windows.block_offsets(coordinates, tiling), len(v)) + hide(near)
    mixed, weights = dot_product_attention(q, k, v, scores=scores, mask=inside)
    return windows.join_blocks(mixed, tiling), windows.dense_weights(weights, tiling)


class MultiHeadAttention(nnx.Module):
    """Every token looks at every token, or at those in its window, once per head; heads are joined and projected.

    `content` False leaves queries and keys out: tokens look where the positions' scores say, whatever is there.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        attention_scale: str,
        *,
        window: int | None = None,
        content: bool = True,
        kernel: str = 'xla',
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.num_heads, self.window, self.content, self.kernel = num_heads, window, content, kernel
        self.scale = (embed_dim // num_heads) ** -0.5 if attention_scale == 'sqrt_head_dim' else 1.0
        # One product for queries, keys and values. LeCun's variance depends on the inputs alone, so each of the
        # three is initialised as if it stood by itself.
        self.qkv = Dense(embed_dim, (3 if content else 1) * embed_dim, dtype=dtype, rngs=rngs)
        self.out = Dense(embed_dim, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, 'batch tokens embed'], positions: Positions, coordinates: Coordinates
    ) -> tuple[Float[Array, 'batch tokens embed'], dict[str, Array]]:
        """The mixed tokens, and what models.build lets be captured: who looked at whom, by which queries and keys."""
        batch, tokens, embed_dim = x.shape
        *queries_and_keys, v = split_heads(self.qkv(x), self.num_heads, embed_dim // self.num_heads)
        if self.content:
            q, k = positions.rotate(*queries_and_keys, coordinates)
            q = q * self.scale
        else:
            q = k = None
        mixed, weights = attend(q, k, v, positions, coordinates, self.window, self.kernel)
        seen = {'attention': jnp.broadcast_to(weights, (self.num_heads, batch, tokens, tokens))}
        if self.content:
            seen |= {'queries': q, 'keys': k}
        return self.out(join_heads([mixed])), seen
