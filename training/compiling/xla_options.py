"""How programs are handed to XLA: with the choices that benchmarks.train_step supports (benchmarks/NOTES.md)."""

import logging
import os

import jax
from ml_collections import ConfigDict

from models.traits import traits

logger = logging.getLogger(__name__)

# Which operations XLA's CPU backend gives to the library YNN. Its sums are fast; its convolutions and large products
# are slower than those of Eigen, which does what remains.
YNN = 'xla_cpu_experimental_ynn_fusion_type'
SUMS_ALONE = {YNN: 'LIBRARY_FUSION_TYPE_REDUCE'}
# The pass that takes barriers away before operations are fused. Without it they stay where a model says by them what is
# worth an array of its own; XLA would work that out anew for all that read it. Elsewhere to leave the pass out costs
# attention a hundredth of its step: what it turns around is copied once more.
KEEP_BARRIERS = {'xla_disable_hlo_passes': 'cse_barrier_expander'}
LARGE = 128  # channels; the products of narrower models are faster by YNN

# XLA's GPU backend then takes the first kernel that works rather than the one that was fastest just now, and no kernel
# that adds up in the order in which its threads come by: scatters, products split along their sum, convolutions, and
# cuDNN's attention backwards each have another one (openxla.org/xla/determinism). What that costs was not measured.
# Nor the kernel that was the fastest for another program, which JAX has XLA keep on disk beside compiled programs.
DETERMINISTIC = {'xla_gpu_deterministic_ops': True, 'xla_gpu_per_fusion_autotune_cache_dir': ''}


def options(config: ConfigDict) -> dict[str, str]:
    """XLA's options for the programs of an experiment; none where the user set XLA_FLAGS of the same name."""
    if jax.default_backend() != 'cpu':
        return {}
    chosen, model = {}, traits(config.model)
    if model.convolves or config.model.embed_dim >= LARGE:
        chosen |= SUMS_ALONE
    if model.keeps_barriers:
        chosen |= KEEP_BARRIERS
    return {name: value for name, value in chosen.items() if name not in os.environ.get('XLA_FLAGS', '')}


def promises(config: ConfigDict) -> dict[str, bool | str]:
    """XLA's options without which a config is not kept; they go before XLA_FLAGS."""
    return DETERMINISTIC if config.deterministic and jax.default_backend() == 'gpu' else {}


def compiled(lowered: jax.stages.Lowered, config: ConfigDict) -> jax.stages.Compiled:
    """The program, compiled with `promises`, and with `options` unless this version of XLA has one of them no more."""
    promised, chosen = promises(config), options(config)
    if chosen:
        try:
            return lowered.compile(compiler_options=chosen | promised)
        except jax.errors.JaxRuntimeError as error:
            if 'No such compile option' not in str(error):
                raise
            logger.warning('compiled without options, and slower for it: %s', error)
    return lowered.compile(compiler_options=promised or None)
