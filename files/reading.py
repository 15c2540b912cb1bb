"""Reads JSON that nobody vouches for: of run folders, sweeps and caches, whose files may be torn, foreign or hostile.

A FIFO would block for ever, a device never end, a huge file fill the memory, and deep nesting overflow the stack.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from files.writing import StorageError

LARGEST_FILE = 16 * 2**20  # bytes; a sweep.json of ten thousand runs takes 4 MiB
LONGEST_LINE = 2**16  # bytes of a line of a log; a row of metrics takes 200
DEEPEST_NESTING = 32  # config trees take 4
# What is the matter with this process or the way to the disk, and may be over in a minute. (EIO is the disk's own.)
ELSEWHERE = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOMEM, errno.EINTR)


class Damaged(Exception):
    """A file that cannot be what it should be; the message says why, in one line."""


def may_pass(error: BaseException | None) -> bool:
    """Whether what kept a file from being read says nothing of what it holds."""
    return isinstance(error, OSError) and error.errno in ELSEWHERE


def unreadable(path: Path, error: Exception) -> Damaged | StorageError:
    """What it means that a file or folder that is there could not be read: it is damaged, unless that may pass."""
    if may_pass(error):
        return StorageError.of_reading(path, error)
    why = getattr(error, 'strerror', None) or f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    return Damaged(f'{path} cannot be read ({why})')


def read_json(path: Path) -> dict | None:
    """Reads a JSON object from a regular file of bounded size and depth; None where there is no such file.

    Raises Damaged, naming what is wrong; from an OSError which `may_pass` where that is no fault of the file's.
    """
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE:
                raise Damaged(f'is too large ({size} bytes; at most {LARGEST_FILE})')
            content = parse(file.read(LARGEST_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(f'cannot be read ({error.strerror})') from error
    if not isinstance(content, dict):
        raise Damaged('is not a JSON object')
    return content


def read_own_json(path: Path) -> dict | None:
    """`read_json` of a file that somebody would act on the absence of.

    Raises StorageError where that it could not be read may pass: it is then neither damaged nor absent.
    """
    try:
        return read_json(path)
    except Damaged as error:
        if may_pass(error.__cause__):
            raise StorageError.of_reading(path, error.__cause__) from error
        raise


def read_json_if_whole(path: Path) -> dict | None:
    """`read_json`, or None as well where the file is damaged."""
    try:
        return read_json(path)
    except Damaged:
        return None


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file with one of JSON a line, up to the first line that holds none, as a killed writer leaves it.

    No value where there is no regular file, or none that can be read.
    """
    try:
        with _open_regular(path) as file:
            while line := file.readline(LONGEST_LINE):
                yield parse(line)
    except (OSError, Damaged):
        return


def parse(content: bytes) -> Any:
    """JSON of bounded depth. Raises Damaged."""
    try:
        value = json.loads(content.decode())
    except RecursionError as error:
        raise Damaged('is nested too deeply') from error
    except ValueError as error:  # torn or no JSON, no UTF-8, or a number of thousands of digits
        raise Damaged(f'is torn or not JSON ({error})') from error
    level = [value]
    for _ in range(DEEPEST_NESTING + 1):
        inner = (
            one for node in level if isinstance(node, dict | list)
            for one in (node.values() if isinstance(node, dict) else node)
        )  # fmt: skip
        level = [one for one in inner if isinstance(one, dict | list)]
    if level:
        raise Damaged('is nested too deeply')
    return value


def _open_regular(path: Path) -> BinaryIO:
    """Opens without waiting for whoever writes to a FIFO. Raises OSError, or Damaged for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged('is not a regular file')
    return os.fdopen(descriptor, 'rb')
