"""Large files are hashed once: a note beside one says that it was, as it is now. To hash it takes minutes."""

import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

from files.checksums import sha256
from files.reading import read_json_if_whole
from files.writing import write_bytes

LARGE = 1 << 30  # bytes of a file that is not hashed at every start, as ImageNet's
NOTE = '.verified.json'  # suffix of the note beside it

logger = logging.getLogger(__name__)


def holds(path: Path, digest: str) -> bool:
    """Whether the SHA-256 of the file is `digest`, computed or, of a LARGE file, known from before."""
    state = path.stat()
    if state.st_size < LARGE:
        return sha256(path) == digest
    stamp, noted = _stamp(state, digest), read_json_if_whole(_note(path))
    if noted == stamp:
        return True
    why = 'it was touched or copied since it was last verified' if noted else 'no note says that it ever was verified'
    # A warning, since nothing less is shown, and a command that is silent for minutes seems to hang.
    logger.warning('computing the checksum of %s (%.1f GiB), since %s', path, state.st_size / 2**30, why)
    if sha256(path) != digest:
        return False
    _leave_note(path, stamp)
    return True


def _note(path: Path) -> Path:
    """The file that says of which state a LARGE file was verified."""
    return path.with_suffix(NOTE)


def _stamp(state: os.stat_result, digest: str) -> dict[str, Any]:
    """What a note holds. Whoever writes to a file, or sets its times, changes the last of these; a copy has others."""
    return {'sha256': digest, 'bytes': state.st_size, 'inode': state.st_ino, 'changed': state.st_ctime_ns}


def _leave_note(path: Path, stamp: dict[str, Any]) -> None:
    try:
        write_bytes(_note(path), json.dumps(stamp).encode())
    except OSError as error:
        _warn_of_no_note(path.parent, error.strerror)


@functools.cache
def _warn_of_no_note(folder: Path, reason: str) -> None:
    """Once for the files of a cache, and for the runs of a process that read it."""
    logger.warning(
        'cannot note in %s that its files are verified (%s), so every start computes their checksums again; one start '
        'that can write there, such as one by its owner, would do',
        *(folder, reason),
    )


def note_installed(path: Path, before: os.stat_result, digest: str) -> None:
    """Notes that a LARGE file is verified if it is what was hashed when its state was `before`: it is not read again.

    Its new name is a change as well, so the note is of what it is by now.
    """
    state = path.stat()
    same = all(getattr(state, field) == getattr(before, field) for field in ('st_size', 'st_ino', 'st_mtime_ns'))
    if same and state.st_size >= LARGE:
        _leave_note(path, _stamp(state, digest))
