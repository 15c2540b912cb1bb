"""Attention by one kernel that never writes the weights down, where the backend has one that can."""

import functools
import logging

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

logger = logging.getLogger(__name__)

KERNELS = ('xla', 'cudnn')
LARGEST_HEAD = 128  # cuDNN's bound on every GPU that it supports; head_dim must be a multiple of HEAD_MULTIPLE
HEAD_MULTIPLE = 8

Heads = Float[Array, 'heads batch tokens head_dim']


def why_not(q: Heads | None, v: Heads, scores: object, window: int | None) -> str | None:
    """Why cuDNN cannot compute this attention; None: it can."""
    if jax.default_backend() != 'gpu':
        return f'the backend is {jax.default_backend()}, and cuDNN is of NVIDIA GPUs'
    if q is None:
        return 'model.positions.content=False leaves no queries and keys'
    if window is not None:
        return f'cuDNN has no window around a token, which model.window={window} asks for'
    if not isinstance(scores, float):
        return 'these positions add to the logits'
    if v.dtype not in (jnp.bfloat16, jnp.float16):
        return f'cuDNN computes in bfloat16, not in {v.dtype}'
    if v.shape[-1] % HEAD_MULTIPLE or v.shape[-1] > LARGEST_HEAD:
        return f'head_dim={v.shape[-1]} is no multiple of {HEAD_MULTIPLE} up to {LARGEST_HEAD}'
    if v.shape[-2] % 2:
        return f'jax.nn.dot_product_attention has no gradient of an odd number of tokens, and these are {v.shape[-2]}'
    return None


@functools.cache  # every layer asks, and every program
def warn(reason: str) -> None:
    """Says once that a kernel that was asked for is not used."""
    logger.warning("model.attention_kernel='cudnn' falls back to 'xla': %s", reason)


def fused_attention(q: Heads, k: Heads, v: Heads, implementation: str = 'cudnn') -> Heads:
    """softmax(q k^T) v of scaled queries, by jax.nn.dot_product_attention (Dao et al. 2022, arXiv:2205.14135)."""
    q, k, v = (x.transpose(1, 2, 0, 3) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, scale=1.0, implementation=implementation).transpose(2, 0, 1, 3)
