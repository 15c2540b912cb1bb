"""build(config, spec) -> Model(init, apply, decays, shapes): pure functions of a params tree."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from data.spec import Spec
from models.fused import with_kernel
from models.matching import matched
from models.model import MODELS, Images, Model, Outputs, Params, build_as_written

__all__ = ['MODELS', 'Images', 'Model', 'Outputs', 'Params', 'build']


def build(config: ConfigDict, spec: Spec, dtype: DTypeLike = jnp.float32) -> Model:
    """The model that `config` (an experiment's `config.model`) describes, for images of `spec`.

    `init(key)` draws float32 params. `apply` takes images in 0..255, [batch, height, width, channels], and computes
    in `dtype`; with `key` it drops out, without it is deterministic. `first` says where these images begin in the
    whole batch that `key` is for, so that a share of a batch drops what the whole would. `coordinates`
    (models.patches.Coordinates) say where tokens are when that is not the trained grid, or its raster order. `capture`
    names what to return beside the logits, as a list with an array for each block: 'attention' (weights, [heads, batch,
    tokens, tokens]), 'tokens' ([batch, tokens, embed]), 'queries' and 'keys' as their product makes the logits: turned
    by rotary codes, queries scaled ([heads, batch, tokens, head_dim]).

    Where `config.match` is set, the width is models.matching's; and attention's kernel is the one that
    `config.attention_kernel` asks for where that can be used (models.fused.fallback).

    Raises:
      ConfigError: no width is near enough to what `config.match` asks for.
      ValueError: from `apply`, when the model has no such thing to capture.
    """
    return build_as_written(with_kernel(matched(config, spec), spec.image_shape, dtype), spec, dtype)
