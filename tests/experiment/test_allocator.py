import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Pages that the kernel had to hand out while a block of 80 MiB was taken, written and freed ten times.
CHURN = """
import ctypes, resource, sys
from experiment.allocator import keep_memory

kept = keep_memory() if sys.argv[1] == 'keep' else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def churn():
    block = libc.malloc(80 * 2**20)
    ctypes.memset(block, 1, 80 * 2**20)
    libc.free(block)

churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    churn()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


# The same of a program whose temporary memory is more than glibc lets the heap of a thread other than the first have.
STEPS = """
import resource, sys
from experiment.allocator import keep_memory

if sys.argv[1] == 'keep':
    assert keep_memory()
import jax
import jax.numpy as jnp

step = jax.jit(lambda x: jnp.sin(jax.lax.optimization_barrier(jnp.outer(x, x))).sum())
x = jnp.arange(5000.0)
for _ in range(3):
    step(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step(x).block_until_ready()
print(None, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def churn(how, *, of=CHURN, **environment):
    clean = {name: value for name, value in os.environ.items() if 'MALLOC' not in name and name != 'GLIBC_TUNABLES'}
    done = subprocess.run(
        [sys.executable, '-c', of, how],
        cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    kept, pages = done.stdout.split()
    return kept, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another allocator')
def test_freed_memory_is_used_again_without_asking_the_kernel():
    kept, pages = churn('keep')
    assert kept == 'True'
    assert pages < 100
    assert churn('leave')[1] > 100 * max(pages, 1)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another allocator')
def test_a_steps_memory_is_used_again_too():
    _, pages = churn('keep', of=STEPS)
    assert pages < 40_000  # of 100 MB each time: 24,414 if once it was not
    assert churn('leave', of=STEPS)[1] > 200_000


@pytest.mark.parametrize(
    'environment', [{'MALLOC_ARENA_MAX': '1'}, {'GLIBC_TUNABLES': 'glibc.malloc.trim_threshold=1000000'}], ids=str
)
def test_what_a_user_set_is_left_alone(environment):
    assert churn('keep', **environment)[0] == 'False'
