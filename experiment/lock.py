"""One process at a time in a folder. The system lets go of the lock when its holder ends, however it ends."""

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from configs.errors import ConfigError
from files.writing import clear_partials, writing

LOCK = 'lock'
PATIENCE = 2.0  # seconds: the workers of a sweep that was killed need a moment to end

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of `folder`, which must be there, and clears it of files that a killed holder did not end.

    On a file system without locks a warning says so.

    Raises:
      ConfigError: another process holds it.
      StorageError: its file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with writing(folder / LOCK):
            file = stack.enter_context((folder / LOCK).open('a+'))
            _acquire(file.fileno(), folder)
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
            clear_partials(folder)
        yield


def _acquire(descriptor: int, folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            holder = ''.join(filter(str.isprintable, os.pread(descriptor, 200, 0).decode(errors='replace')))
            raise ConfigError(
                f'--workdir={folder} is in use by {holder or "another process"}; wait, or another folder would do'
            ) from error
        except OSError as error:
            return logger.warning('%s cannot be locked (%s): let no other process use it', folder, error.strerror)
