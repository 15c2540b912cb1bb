"""The errors that are the user's to mend: commands print them as one line, without a traceback."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class ConfigError(Exception):
    """A setting that cannot work. Commands print it as one line on stderr and exit with status 2.

    The message names the field, the value, and what would do:
    `model.num_heads=3 must divide model.embed_dim=64; try 1, 2, 4, 8`.
    """


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a full or read-only disk, and a quota, make of any write
OF_STORAGE = (*FULL, errno.EFBIG)  # and a limit on the size of a file
KNOWN = (*OF_STORAGE, errno.EACCES, errno.EIO)


class StorageError(Exception):
    """What a run leaves behind could not be written. Commands print it as one line and exit with status 1.

    What was written before stays as it was; the same command goes on from there.

    Attributes:
      everywhere: whether the disk is full or cannot be written to, so that whatever comes next would fail as well.
    """

    everywhere = False

    @classmethod
    def of(cls, path: Path, error: Exception) -> 'StorageError':
        """That `path` could not be written, because of `error`."""
        # Libraries put the system's error into texts of many lines; the system's own words say it best.
        text = str(error)
        words = {number: os.strerror(number) for number in KNOWN}
        why = words.get(getattr(error, 'errno', None)) or next((word for word in words.values() if word in text), None)
        why = why or f'{type(error).__name__}: {" ".join(text.split())[:300]}'
        told = cls(f'{path} could not be written ({why}); what was saved before is good, and the same command goes on')
        told.everywhere = why in [words[number] for number in FULL]
        return told


@contextlib.contextmanager
def writing(path: Path, errors: type[Exception] = OSError) -> Iterator[None]:
    """Raises StorageError for any of `errors` that comes while `path` is written."""
    try:
        yield
    except StorageError:
        raise
    except errors as error:
        raise StorageError.of(path, error) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """What would do in place of `name`: the nearest known name, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f'did you mean {near[0]}?' if near else f'one of {", ".join(known)} would do'
