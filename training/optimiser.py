"""AdamW with warm-up, cosine and clipping: optax's, put together."""

import optax
from ml_collections import ConfigDict

from models import Model


def learning_rate_schedule(config: ConfigDict, total_steps: int) -> optax.Schedule:
    """Linear warm-up to `train.learning_rate`, then a cosine to zero at `total_steps` (arXiv:1608.03983)."""
    warmup = round(config.warmup * total_steps)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(total_steps, warmup + 1))


def build_optimiser(config: ConfigDict, model: Model, total_steps: int) -> optax.GradientTransformation:
    """The optimiser that `config` (an experiment's `config.train`) describes.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) on gradients clipped by their global norm; weight decay
    only where `model.decays`.
    """
    adamw = optax.adamw(
        learning_rate_schedule(config, total_steps), weight_decay=config.weight_decay, mask=model.decays
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw
