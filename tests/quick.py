"""Flags with which XLA compiles in half the time, for what runs a few steps on a few numbers."""

import jax

# Without LLVM's optimisation, and with its other emitters, as long as there are others: XLA ends the process, without
# a word where pytest holds stderr, at a flag that it does not know.
QUICKLY = '--xla_backend_optimization_level=0'
if jax.__version_info__ < (0, 12):
    QUICKLY += ' --xla_cpu_use_fusion_emitters=false'
