"""Arrays that took long to make, kept on disk, memory-mapped, and believed only after they are verified.

A cache is a folder of `.npy` files and a `manifest.json` that says what they were made from and how they must look.
It knows nothing of datasets: the caller names the folder, gives a fingerprint of the source, and fills the arrays.
"""

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from data import verified
from files.checksums import sha256
from files.reading import Damaged, read_json
from files.text import shown
from files.writing import FULL, StorageError, clear_partials, open_own, sync, write_bytes

MANIFEST = 'manifest.json'
LOCK = 'lock'
FORMAT = 1  # of the manifest; raise it when its meaning changes, and old caches are stale
IN_MEMORY_BYTES = 2 << 30  # what takes more is not held in memory

logger = logging.getLogger(__name__)


# allocate(name, shape, dtype) gives a writable array of zeros, to be filled and kept under its name.
Allocate = Callable[[str, tuple[int, ...], DTypeLike], np.ndarray]
Layout = dict[str, tuple[tuple[int, ...], DTypeLike]]  # shape and dtype of each array, by its name


class _Rejected(Exception):
    """A cache that cannot be used; the message says which file and why. `expected` when there never was one."""

    def __init__(self, reason: str, expected: bool = False):
        super().__init__(reason)
        self.expected = expected


class _Unwritable(Exception):
    """The folder takes no cache; where the system says why, its error is the cause."""


def load_or_build(
    folder: Path,
    fingerprint: dict[str, Any],
    build: Callable[[Allocate], None],
    layout: Layout | None = None,
    remedies: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays of a cache, read-only and memory-mapped; they are built first where they are missing or not right.

    Every file is verified against the manifest (shape, dtype, SHA-256) and the manifest against `fingerprint`; a large
    one is hashed when it was touched since it was last found right, which a warning says before it takes its minutes.
    A damaged or stale cache is logged as one warning and built anew. Processes that want the same cache take turns to
    build it. Where the folder cannot be written, a warning says so and the arrays are built in memory, if they take no
    more than IN_MEMORY_BYTES in all.

    Args:
      folder: where the cache is, or will be made.
      fingerprint: whatever the arrays depend on, as JSON; the cache is stale when it differs.
      build: called as `build(allocate)`; it calls `allocate` once for each array, and fills what it gets.
      layout: what `build` allocates, where that is known: a cache of anything else is damaged.
      remedies: what would do, beside a folder that takes them, where the arrays are too large for memory.
    Returns:
      An array for each name that `build` allocated.
    Raises:
      StorageError: the folder takes no cache, and the arrays are too large for memory. With a `layout` that is told
        before `build` is called for memory.
      whatever `build` raises; a cache that was there is then left as it is.
    """
    fingerprint = json.loads(json.dumps(fingerprint))  # tuples become lists, as they do in the manifest
    try:
        return _open(folder, fingerprint, layout)
    except _Rejected:
        pass  # another process may be building at this moment, so the verdict is taken under the lock
    try:
        with _locked(folder):
            return _open_or_rebuild(folder, fingerprint, build, layout)
    except _Unwritable as error:
        refusal = error
    needed = {name: _bytes(*kind) for name, kind in (layout or {}).items()}
    _refuse_large(folder, sum(needed.values()), refusal, remedies)
    logger.warning('cannot keep decoded arrays in %s (%s); going on from memory', folder, refusal)
    arrays: dict[str, np.ndarray] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        needed[name] = _bytes(shape, dtype)
        _refuse_large(folder, sum(needed.values()), refusal, remedies)
        arrays[name] = np.zeros(shape, dtype)
        return arrays[name]

    build(allocate)
    for array in arrays.values():
        array.flags.writeable = False  # as the memory-mapped arrays are
    return arrays


def _bytes(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _refuse_large(folder: Path, needed: int, refusal: _Unwritable, remedies: Sequence[str]) -> None:
    """Raises StorageError where arrays that `folder` does not take are too large for memory."""
    if needed <= IN_MEMORY_BYTES:
        return
    number = getattr(refusal.__cause__, 'errno', None)
    free = f', {_free_bytes(folder):,} bytes are free there' if number == errno.ENOSPC else ''
    own = 'free space there' if number in (errno.ENOSPC, errno.EDQUOT) else 'a folder there that can be written to'
    error = StorageError(
        f'cannot keep decoded arrays of {needed:,} bytes in {folder} ({refusal}{free}), and more than '
        f'{IN_MEMORY_BYTES:,} are not held in memory; {" or ".join((own, *remedies))} would do'
    )
    error.everywhere = number in FULL
    raise error from refusal


def _free_bytes(folder: Path) -> int:
    """Of the disk that `folder` is on, or would be made on."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def _open_or_rebuild(
    folder: Path, fingerprint: dict, build: Callable[[Allocate], None], layout: Layout | None
) -> dict[str, np.ndarray]:
    try:
        return _open(folder, fingerprint, layout)
    except _Rejected as why:
        if not why.expected:
            logger.warning('%s; building the cache anew', why)
    _build(folder, fingerprint, build)
    try:
        return _open(folder, fingerprint, layout)
    except _Rejected as why:
        raise _Unwritable(f'what was written does not read back: {why}') from why


def _open(folder: Path, fingerprint: dict, layout: Layout | None) -> dict[str, np.ndarray]:
    """The arrays of a cache that is right in every respect."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        if manifest is None:
            raise _Rejected(f'{path} is missing', expected=True)
        if manifest['format'] != FORMAT:
            raise _Rejected(f'{path} is stale (format {shown(str(manifest["format"]))}, now {FORMAT})')
        source, entries = dict(manifest['fingerprint']), dict(manifest['arrays'])
        if source != fingerprint:
            changed = sorted(key for key in {*source, *fingerprint} if source.get(key) != fingerprint.get(key))
            raise _Rejected(f'{path} is stale (its source differs in {shown(", ".join(changed))})')
        foreign = [name for name in entries if not name.isidentifier()]  # a path could lead out of the folder
        if foreign:
            raise _Rejected(f'{path} is damaged (an array is called {shown(foreign[0])})')
        arrays = {name: _open_array(folder / f'{name}.npy', entry) for name, entry in entries.items()}
    except Damaged as error:
        raise _Rejected(f'{path} {error}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Rejected(f'{path} is damaged ({type(error).__name__}: {shown(str(error))})') from error
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    if layout is not None and found != {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in layout.items()}:
        raise _Rejected(f'{path} is damaged (its arrays are not those of its source)')
    return arrays


def _open_array(path: Path, entry: dict) -> np.ndarray:
    shape, dtype, digest = entry['shape'], entry['dtype'], entry['sha256']
    if not path.is_file():  # a FIFO would block for ever
        raise _Rejected(f'{path} is damaged (not a regular file)' if path.exists() else f'{path} is missing')
    try:
        array = np.load(path, mmap_mode='r', allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python, and raises whatever that and huge shapes may
        raise _Rejected(f'{path} is damaged ({shown(str(error))})') from error
    if not isinstance(array, np.memmap):
        array.close()  # a zip of arrays
        raise _Rejected(f'{path} is damaged (not a single array)')
    if list(array.shape) != shape or array.dtype.str != dtype:
        found, wanted = f'{array.dtype.str}{list(array.shape)}', f'{dtype}{shape}'
        raise _Rejected(f'{path} is damaged (holds {shown(found)}, expected {shown(wanted)})')
    if not verified.holds(path, digest):
        raise _Rejected(f'{path} is damaged (its SHA-256 is not the one in {MANIFEST})')
    return array


def _build(folder: Path, fingerprint: dict, build: Callable[[Allocate], None]) -> None:
    """Fills new arrays and puts them in place; needs the lock. The manifest goes last, so no half cache is believed."""
    _clear(folder)  # what a build that was killed has left
    arrays: dict[str, np.memmap] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        path = folder / f'{name}.npy.tmp'
        try:
            array = np.lib.format.open_memmap(path, 'w+', np.dtype(dtype), shape)
            # A sparse file on a full disk is a bus error at some later write; claimed here, it is an error to catch.
            if hasattr(os, 'posix_fallocate'):  # macOS has none
                with path.open('r+b') as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise _Unwritable(error.strerror) from error
        arrays[name] = array
        return array

    try:
        build(allocate)
        _install(folder, fingerprint, arrays)
    finally:
        _clear(folder)


def _clear(folder: Path) -> None:
    """Removes what is not in place: of arrays, and of the manifest."""
    try:
        for temporary in folder.glob('*.tmp'):
            temporary.unlink(missing_ok=True)
        clear_partials(folder, [MANIFEST, f'*{verified.NOTE}'])
    except OSError as error:
        raise _Unwritable(error.strerror) from error


def _install(folder: Path, fingerprint: dict, arrays: dict[str, np.memmap]) -> None:
    entries, hashed = {}, {}
    try:
        for name, array in arrays.items():
            array.flush()
            temporary = folder / f'{name}.npy.tmp'
            sync(temporary)
            hashed[name] = temporary.stat()
            entries[name] = {'shape': array.shape, 'dtype': array.dtype.str, 'sha256': sha256(temporary)}
        for name in arrays:
            os.replace(folder / f'{name}.npy.tmp', folder / f'{name}.npy')
        sync(folder)
        manifest = {'format': FORMAT, 'fingerprint': fingerprint, 'arrays': entries}
        write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1) + '\n').encode())
        sync(folder)
        for name, before in hashed.items():
            verified.note_installed(folder / f'{name}.npy', before, entries[name]['sha256'])
    except OSError as error:
        raise _Unwritable(error.strerror) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the cache's lock, which the system lets go of when its holder ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(open_own(folder / LOCK), 'r+b', buffering=0)
    except OSError as error:
        raise _Unwritable(error.strerror) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a network file system without locks
            raise _Unwritable(error.strerror) from error
        yield
