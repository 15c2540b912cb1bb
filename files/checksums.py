"""Checksums of files, of JSON objects, and over a folder that is written once: whether it is still what was written."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from files.reading import Damaged, read_own_json, unreadable
from files.writing import PARTIAL, write_bytes

SEAL = 'SHA256SUMS'  # as the command sha256sum writes it, so `sha256sum --check SHA256SUMS` reads it too
CHECKSUM = 'sha256'  # field of a JSON object: of all others


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def with_checksum(fields: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its own checksum."""
    return fields | {CHECKSUM: checksum(fields)}


def verified(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields`, if the checksum among them is theirs. Raises Damaged: it is another, or there is none."""
    if fields.get(CHECKSUM) != checksum(fields):
        raise Damaged('is not what its checksum is of')
    return fields


def read_verified(path: Path) -> dict[str, Any] | None:
    """What a file says that holds a JSON object with its own checksum; None where there is no such file.

    Raises:
      Damaged: it holds something else.
      StorageError: it could not be read just now.
    """
    fields = read_own_json(path)
    return None if fields is None else verified(fields)


def checksum(fields: dict[str, Any]) -> str:
    """SHA-256 of a JSON object's fields, in one order and spelling, without its own."""
    others = {name: value for name, value in fields.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> None:
    """Writes down the SHA-256 of every file of `folder`; to be called when all of them are there."""
    lines = [f'{sha256(folder / name)}  {name}\n' for name in _files(folder)]
    write_bytes(folder / SEAL, ''.join(lines).encode())


def check(folder: Path) -> None:
    """Compares every file of `folder` with its seal.

    Raises:
      Damaged: there is no seal, or a file differs, is missing or is not of it. Names in the seal are never opened.
      StorageError: a file that is there could not be read, which says nothing of what it holds.
    """
    try:
        text = (folder / SEAL).read_bytes().decode()
        expected = {name: digest for digest, _, name in (line.partition('  ') for line in text.splitlines())}
        names = _files(folder)
    except FileNotFoundError as error:
        raise Damaged(f'{folder} was not written to its end') from error
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(folder / SEAL, error) from error
    if not text.endswith('\n'):
        raise Damaged(f'{folder / SEAL} is damaged: it was cut')
    for name in sorted({*names} ^ {*expected}):
        raise Damaged(f'{folder} has no file {name!r}' if name in expected else f'{folder / name} is not in its {SEAL}')
    for name in names:
        try:
            digest = sha256(folder / name)
        except OSError as error:
            raise unreadable(folder / name, error) from error
        if digest != expected[name]:
            raise Damaged(f'{folder / name} is damaged: its SHA-256 is not the one in {SEAL}')


def _files(folder: Path) -> list[str]:
    """Names of the files below `folder` but the seal, in order. Raises Damaged for what is neither file nor folder."""
    names = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in [*folders, *files]:
            path = Path(parent, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise Damaged(f'{path} is neither a file nor a folder')
        names += [Path(parent, name).relative_to(folder).as_posix() for name in files]
    return sorted(
        name for name in names if name != SEAL and not (name.startswith(f'.{SEAL}.') and name.endswith(PARTIAL))
    )


def _raise(error: OSError) -> None:
    raise error
