"""AdamW with warm-up, cosine and clipping: optax's, put together."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from models import Model


class Rates(NamedTuple):
    """The numbers of a recipe that are arguments of the training program: runs that differ in them alone share it."""

    learning_rate: Float[Array, '']
    weight_decay: Float[Array, '']
    label_smoothing: Float[Array, '']

    @classmethod
    def of(cls, config: ConfigDict) -> 'Rates':
        """Those of `config` (an experiment's `config.train`)."""
        return cls(*(jnp.float32(config[name]) for name in cls._fields))


def relative_learning_rate(config: ConfigDict, total_steps: int) -> optax.Schedule:
    """The share of `train.learning_rate` that a step uses: a linear warm-up to 1, then a cosine to 0 at `total_steps`.

    Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts. Where there is a warm-up it begins at 0, as
    optax has it: the first step moves no param. It leaves at least the last step to the cosine.
    """
    warmup = min(round(config.warmup * total_steps), total_steps - 1)
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, total_steps)


def build_optimiser(config: ConfigDict, model: Model, total_steps: int, rates: Rates) -> optax.GradientTransformation:
    """The optimiser that `config` (an experiment's `config.train`) describes, at `rates`, which may be traced.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) on gradients clipped by their global norm; weight decay
    only where `model.decays`.
    """
    schedule = relative_learning_rate(config, total_steps)
    moments = optax.scale_by_adam()
    if config.clip_norm:
        moments = optax.chain(optax.clip_by_global_norm(config.clip_norm), moments)
    return optax.chain(
        optax.flatten(moments),  # one vector: hundreds of small operations less to compile and to start
        optax.add_decayed_weights(rates.weight_decay, mask=model.decays),
        optax.scale_by_learning_rate(lambda count: rates.learning_rate * schedule(count)),
    )
