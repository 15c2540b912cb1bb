"""Compiled programs kept on disk between processes, and whether they were found there: JAX's persistent cache.

A program is kept under a hash of what its machine code depends on: the program, the versions of JAX and of the
backend, XLA's flags, the kind and the features of the device, the path of the folder. So a home that several machines
share is safe. Several processes may use the folder at once: one that meets another's half-written file compiles anew.
Anyone who can write to it can run code as whoever reads it, so it is the user's own.
"""

import contextlib
import functools
import hashlib
import logging
import os
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax

from machine.cores import cores_allowed

logger = logging.getLogger(__name__)

LARGEST_CACHE = 2 * 2**30  # bytes; a model on a CPU takes about one MiB
SLOW = 1 / 3  # of the first start's time, from which a later start should say why it took so long

# JAX keeps only what took a second to compile; the small programs of a start take as long together.
KEEP_ALL = {'jax_persistent_cache_min_compile_time_secs': 0.0, 'jax_persistent_cache_min_entry_size_bytes': -1}

# Events of jax.monitoring. JAX's own event of a miss is left out where it decides not to keep the program.
ASKED, FOUND = '/jax/compilation_cache/compile_requests_use_cache', '/jax/compilation_cache/cache_hits'


class CacheCounts(NamedTuple):
    """Programs that were found in the cache, and that were compiled because they were not."""

    hits: int = 0
    misses: int = 0

    def since(self, mark: 'CacheCounts') -> 'CacheCounts':
        """Those after `mark` was taken."""
        return CacheCounts(self.hits - mark.hits, self.misses - mark.misses)


class _Events(threading.local):
    """How often each event happened in this thread: programs may be compiled in several at once."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()


_events = _Events()


def counts() -> CacheCounts:
    """Those of this thread since `use_cache` was first called; none where no cache is in use."""
    seen = _events.seen
    return CacheCounts(seen[FOUND], seen[ASKED] - seen[FOUND])


def _count(event: str, **_: object) -> None:
    _events.seen[event] += 1


def add(others: CacheCounts) -> None:
    """Adds to this thread's counts those of a process that compiled for it."""
    _events.seen.update({ASKED: sum(others), FOUND: others.hits})


@functools.cache
def use_cache() -> None:
    """Turns the cache on for this process, unless it is turned off.

    The folder is below JAX_COMPILATION_CACHE_DIR where that is set (empty: off), else below one of the user's own, in
    $XDG_CACHE_HOME or ~/.cache. JAX_ENABLE_COMPILATION_CACHE=false turns it off too. A folder that cannot be used is
    logged as a warning, and programs are compiled anew.
    """
    root = _root() if jax.config.jax_enable_compilation_cache else None
    if root is None:
        jax.config.update('jax_enable_compilation_cache', False)  # else JAX goes on hashing every program
        return
    # XLA splits a program among the cores that it sees when it compiles it, and JAX's hash leaves their number out: of
    # a single-core process, a program would stay slow everywhere.
    folder = f'{root}/{len(cores_allowed())}-cores'
    jax.config.update('jax_compilation_cache_dir', folder)
    for name, value in KEEP_ALL.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    jax.monitoring.register_event_listener(_count)


def folder_in_use() -> Path | None:
    """Where `use_cache` keeps programs; None where it was not called, or the cache is off."""
    folder = jax.config.jax_compilation_cache_dir
    return Path(folder) if folder and jax.config.jax_enable_compilation_cache else None


def _root() -> str | None:
    chosen = jax.config.jax_compilation_cache_dir
    if chosen is not None:
        return chosen or None
    try:
        root = _own_root()
        trim(root, LARGEST_CACHE)
    except (OSError, RuntimeError) as error:  # Path.home() of a user without one raises RuntimeError
        logger.warning('compiled programs are not kept: %s; JAX_COMPILATION_CACHE_DIR=folder would do', error)
        return None
    return str(root)


def _own_root() -> Path:
    """The user's folder, made if need be. Raises OSError where it cannot be trusted or written to."""
    caches = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if not caches.is_absolute():  # not set, or to be ignored by the XDG specification
        caches = Path.home() / '.cache'
    root = caches / 'patchwise' / 'programs'
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f'{root} can be written to by others')
    probe = root / f'.probe.{os.getpid()}'
    probe.touch()
    probe.unlink(missing_ok=True)
    return root


def trim(root: Path, largest: int) -> None:
    """Deletes the files that were used longest ago, until the others take at most `largest` bytes.

    JAX can bound a folder itself (jax_compilation_cache_max_size, with the package filelock), but then locks it for
    every program it reads and lists it for every one it writes, and up to version 0.10 writes none any more once a
    process was killed while it wrote.
    """
    files = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # another process trims too
                status = path.stat()
                # Many systems note the time of a reading once a day only, which will do to rank by.
                files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    excess = sum(size for _, size, _ in files) - largest
    for _, size, path in sorted(files):
        # An empty one is of a process that was stopped before it wrote; JAX would neither read nor replace it.
        if excess > 0 or size == 0:
            path.unlink(missing_ok=True)
            excess -= size


def slow_start(folder: Path, programs: str, seconds: float, counted: CacheCounts) -> str | None:
    """Why a start took longer than `SLOW` of the first one of the same programs; None: it did not, or was the first.

    Args:
      folder: that of `use_cache`; the time of the first start, which found next to nothing, is written down there.
      programs: what the programs follow from, as text: fields of a config.
      seconds: from the beginning of compilation to the first step.
      counted: programs found and not found in that time.
    """
    made_by = f'{jax.__version__} {jax.devices()[0].device_kind} {programs}'
    note = folder / f'{hashlib.sha256(made_by.encode()).hexdigest()}-start'
    try:
        first = float(note.read_text())
    except (OSError, ValueError):
        if counted.misses > counted.hits:
            with contextlib.suppress(OSError):  # a folder of the user's own choice may be none of this machine's
                note.write_text(repr(seconds))
        return None
    if seconds <= SLOW * first:
        return None
    if counted.misses:
        why = (
            f'{counted.misses} of {sum(counted)} programs were not in the cache, {folder}: '
            'the code or the settings of JAX changed since, or they were deleted to make room'
        )
    else:
        why = (
            'all programs came from the cache, so it went into tracing and loading them and starting processes, '
            'or the machine is busy'
        )
    return f'this start took {seconds:.1f} s to its first step, the first one {first:.1f} s: {why}'
