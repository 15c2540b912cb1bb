"""Attention by one kernel that never writes the weights down, where the backend has one that can."""

import re

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from models import windows
from models.patches import patch_grid
from models.positions import POSITIONS, overrides
from models.positions.base import Heads

LARGEST_HEAD = 128  # cuDNN's bound on every GPU that it supports; head_dim must be a multiple of HEAD_MULTIPLE
HEAD_MULTIPLE = 8
LEAST_CAPABILITY = 8.0  # of the GPU


def fallback(config: ConfigDict, image_shape: tuple[int, int, int], dtype: DTypeLike) -> str:
    """Why the kernel that `config` (an experiment's `config.model`) asks for cannot compute its attention; '': it can.

    Told of a model rather than of arrays, so that a run can say it once, and its result which kernel it was.
    """
    if config.attention_kernel != 'cudnn':
        return ''
    grid, head_dim = patch_grid(image_shape, config.patch_size), config.embed_dim // config.num_heads
    if jax.default_backend() != 'gpu':
        return f'the backend is {jax.default_backend()}, and cuDNN is of NVIDIA GPUs'
    capability = str(getattr(jax.devices()[0], 'compute_capability', 'unknown'))  # of AMD's a name
    if not re.fullmatch(r'\d+\.\d+', capability) or float(capability) < LEAST_CAPABILITY:
        return (
            f"cuDNN's attention takes compute capability {LEAST_CAPABILITY:.1f} or more, and this GPU's is {capability}"
        )
    if not config.positions.content:
        return 'model.positions.content=False leaves no queries and keys'
    if config.window is not None and not windows.sees_all(grid, config.window):
        return f'cuDNN has no window around a token, which model.window={config.window} asks for'
    if overrides(POSITIONS[config.positions.name], 'scores'):
        return f'model.positions.name={config.positions.name!r} adds to the logits'
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f'cuDNN computes in bfloat16, not in {jnp.dtype(dtype)}'
    if head_dim % HEAD_MULTIPLE or head_dim > LARGEST_HEAD:
        return f'head_dim={head_dim} is no multiple of {HEAD_MULTIPLE} up to {LARGEST_HEAD}'
    if grid[0] * grid[1] % 2:
        tokens = grid[0] * grid[1]
        return f'jax.nn.dot_product_attention has no gradient of an odd number of tokens, and these are {tokens}'
    return ''


def with_kernel(config: ConfigDict, image_shape: tuple[int, int, int], dtype: DTypeLike) -> ConfigDict:
    """`config` (an experiment's `config.model`) with the kernel that is used, where it asks for one that cannot be."""
    if not fallback(config, image_shape, dtype):
        return config
    config = config.copy_and_resolve_references()
    config.attention_kernel = 'xla'
    return config


def fused_attention(q: Heads, k: Heads, v: Heads, implementation: str = 'cudnn') -> Heads:
    """softmax(q k^T) v of scaled queries, by jax.nn.dot_product_attention (Dao et al. 2022, arXiv:2205.14135)."""
    q, k, v = (x.transpose(1, 2, 0, 3) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, scale=1.0, implementation=implementation).transpose(2, 0, 1, 3)
