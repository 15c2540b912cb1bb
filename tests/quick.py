"""Flags with which XLA compiles in less than half the time, for what runs a few steps on a few numbers."""

import jax

# Without LLVM's optimisation, with each program whole rather than in parts for several threads (others test beside this
# process), and with XLA's other emitters, as long as there are others: it ends the process, without a word where pytest
# holds stderr, at a flag that it does not know.
QUICKLY = '--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1'
if jax.__version_info__ < (0, 12):
    QUICKLY += ' --xla_cpu_use_fusion_emitters=false'
