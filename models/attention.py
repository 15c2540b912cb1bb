"""Multi-head scaled dot-product attention."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from models.layers import Dense
from models.patches import Coordinates
from models.positions import NoPositions

SCALES = ('sqrt_head_dim', 'none')


def dot_product_attention(
    q: Float[Array, 'heads batch queries head_dim'],
    k: Float[Array, 'heads batch keys head_dim'],
    v: Float[Array, 'heads batch keys head_dim'],
    *,
    scale: float,
    scores: Float[Array, '...'] | float = 0.0,
) -> tuple[Float[Array, 'heads batch queries head_dim'], Float[Array, 'heads batch queries keys']]:
    """softmax(scale q k^T + scores) v, and the weights (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    Logits and softmax are float32 whatever the compute type; weights return in the compute type. Heads lead so
    that both products are one batched matrix product over contiguous memory.
    """
    logits = jnp.einsum('hbqd,hbkd->hbqk', q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * scale + scores, axis=-1).astype(v.dtype)
    return jnp.einsum('hbqk,hbkd->hbqd', weights, v), weights


class MultiHeadAttention(nnx.Module):
    """Every token looks at every token, once per head: q, k, v per head, heads concatenated, output projection."""

    def __init__(self, embed_dim: int, num_heads: int, attention_scale: str, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.scale = (embed_dim // num_heads) ** -0.5 if attention_scale == 'sqrt_head_dim' else 1.0
        # One product for queries, keys and values. LeCun's variance depends on the inputs alone, so each of the
        # three is initialised as if it stood by itself.
        self.qkv = Dense(embed_dim, 3 * embed_dim, dtype=dtype, rngs=rngs)
        self.out = Dense(embed_dim, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, 'batch tokens embed'], positions: NoPositions, coordinates: Coordinates
    ) -> tuple[Float[Array, 'batch tokens embed'], Float[Array, 'heads batch tokens tokens']]:
        """The mixed tokens, and who looked at whom."""
        batch, tokens, embed_dim = x.shape
        heads = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, embed_dim // self.num_heads)
        q, k, v = heads.transpose(2, 3, 0, 1, 4)
        q, k = positions.rotate(q, k, coordinates)
        scores = positions.scores(q, k, coordinates)
        mixed, weights = dot_product_attention(q, k, v, scale=self.scale, scores=scores)
        return self.out(mixed.transpose(1, 2, 0, 3).reshape(x.shape)), weights
