"""Writes files whole or not at all, and says in one line why one could not be written."""

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a full or read-only disk, and a quota, make of any write
OF_STORAGE = (*FULL, errno.EFBIG)  # and a limit on the size of a file
KNOWN = (*OF_STORAGE, errno.EACCES, errno.EIO)
PARTIAL = '.partial'  # how the names of files end that are not whole yet


class StorageError(Exception):
    """What a run leaves behind could not be written, sent, or read just now.

    Commands print it as one line and exit with status 1.

    What was written before stays as it was; the same command goes on from there.

    Attributes:
      everywhere: whether the disk is full or cannot be written to, so that whatever comes next would fail as well.
    """

    everywhere = False

    @classmethod
    def of(cls, path: Path, error: Exception) -> 'StorageError':
        """That `path` could not be written, because of `error`."""
        why = _why(error)
        told = cls(f'{path} could not be written ({why}); what was saved before is good, and the same command resumes')
        told.everywhere = why in map(os.strerror, FULL)
        return told

    @classmethod
    def of_reading(cls, path: Path, error: OSError) -> 'StorageError':
        """That `path` could not be read, which does not say that it is damaged: another time, or another user, may."""
        return cls(
            f'{path} could not be read ({_why(error)}); it was left as it is, and the same command resumes once it can '
            'be read, or is moved away'
        )


def _why(error: Exception) -> str:
    # Libraries put the system's error into texts of many lines; the system's own words say it best.
    text = str(error)
    words = {number: os.strerror(number) for number in KNOWN}
    known = words.get(getattr(error, 'errno', None)) or next((word for word in words.values() if word in text), None)
    return known or f'{type(error).__name__}: {" ".join(text.split())[:300]}'


@contextlib.contextmanager
def writing(path: Path, errors: type[Exception] = OSError) -> Iterator[None]:
    """Raises StorageError for any of `errors` that comes while `path` is written."""
    try:
        yield
    except StorageError:
        raise
    except errors as error:
        raise StorageError.of(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes beside the file, then renames: a reader, or a crash, meets the old file or the new, never a half.

    Raises OSError. Whatever is raised, nothing is left of it; by a writer that is killed, a file for `clear_partials`.
    """
    # Not the process's number, which one on another machine may have.
    partial = path.with_name(f'.{path.name}.{secrets.token_hex(8)}{PARTIAL}')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def open_own(path: Path) -> int:
    """Opens a file that this process writes to as it goes on, at its end; returns its descriptor.

    Neither waits where a FIFO stands in its place, nor writes to the file that a link leads to. Raises OSError.
    """
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
    )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, 'it is not a regular file', str(path))
    return descriptor


def clear_partials(folder: Path, names: Iterable[str]) -> None:
    """Removes what killed writers of files of these names have left in `folder`; nobody may be writing them.

    Raises OSError.
    """
    for name in names:
        for partial in folder.glob(f'.{name}.*{PARTIAL}'):
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of a value as JSON; NaN and infinity are refused, since they are none. Raises StorageError."""
    text = json.dumps(value, indent=2, allow_nan=False) + '\n'
    with writing(path):
        write_bytes(path, text.encode())


def sync(path: Path) -> None:
    """Returns when the disk has the file, or the names in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
