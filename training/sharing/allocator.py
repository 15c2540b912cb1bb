"""How this process keeps the memory that a training step frees, and whether it got none."""

import ctypes
import os

import jax

# glibc's mallopt(3): parameter, value.
SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: blocks of any size come from the heap, none from a mapping of its own
    (-1, -1),  # M_TRIM_THRESHOLD: the top of the heap is never given back
    (-2, 64 * 2**20),  # M_TOP_PAD: it grows by so much more than is asked for
)


def keep_memory() -> bool:
    """Makes glibc reuse freed memory instead of giving it back to the kernel; whether that could be done.

    XLA's CPU backend asks for its temporary memory anew in every call. By default glibc maps such blocks from the
    kernel and unmaps them when they are freed, so each step pays for hundreds of thousands of page faults: a sixth of
    the time of a ViT-S/16's step (benchmarks/NOTES.md). Only for this process and from now on, before JAX's backend
    starts; a user who set glibc's own variables is not overruled, and other allocators and systems are left alone.

    Each thread has a heap of its own, for which no other waits, but only the main thread's holds blocks of more than
    64 MiB. So steps are to run where they are called from: JAX's asynchronous dispatch would hand them to another.
    """
    if 'malloc' in os.environ.get('GLIBC_TUNABLES', '') or any(name.startswith('MALLOC_') for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    jax.config.update('jax_cpu_enable_async_dispatch', False)
    taken = [mallopt(parameter, value) for parameter, value in SETTINGS]
    return all(taken)


def was_refused(error: Exception) -> bool:
    """Whether NumPy, or XLA on any backend, was refused memory. (What a system kills for it cannot say so.)"""
    of_xla = isinstance(error, jax.errors.JaxRuntimeError) and str(error).startswith('RESOURCE_EXHAUSTED')
    return of_xla or isinstance(error, MemoryError)
