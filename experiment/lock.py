"""One process at a time in a folder, except for the shares of a sweep.

The system lets go of the lock when its holder ends, however it ends.
"""

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from configs.errors import ConfigError
from experiment.folder import CONFIG, FAILED, MANIFEST, POPULATION, PROBE, RESULT
from files.writing import clear_partials, open_own, writing
from training.divergence import NOTE
from training.recording.log import METRICS

LOCK = 'lock'
WRITTEN = (CONFIG, RESULT, FAILED, MANIFEST, POPULATION, METRICS, NOTE)  # by none but the holder
PATIENCE = 2.0  # seconds: the workers of a sweep that was killed need a moment to end

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Holds the lock of `folder`, which must be there, and clears it of files that a killed holder did not end.

    On a file system without locks a warning says so.

    Args:
      shared: with whoever says so too, the shares of a sweep; then nothing is cleared, since others may be writing.

    Raises:
      ConfigError: another process holds it.
      StorageError: its file cannot be written, or the folder not cleared.
    """
    with contextlib.ExitStack() as stack:
        with writing(folder / LOCK):
            file = stack.enter_context(os.fdopen(open_own(folder / LOCK), 'r+b', buffering=0))
            held = _acquire(file.fileno(), folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            file.truncate(0)
            others = ', and other shares of the sweep maybe' if shared else ''
            file.write(f'process {os.getpid()} on {socket.gethostname()}{others}'.encode())
        if held and not shared:
            with writing(folder):
                clear_partials(folder, (*WRITTEN, PROBE))
        yield


def _acquire(descriptor: int, folder: Path, kind: int) -> bool:
    """Whether the lock is held now; it is not where the file system has none."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError as error:
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            holder = ''.join(filter(str.isprintable, os.pread(descriptor, 200, 0).decode(errors='replace')))
            raise ConfigError(
                f'--workdir={folder} is in use by {holder or "another process"}; wait, or another folder would do'
            ) from error
        except OSError as error:
            logger.warning('%s cannot be locked (%s): let no other process use it', folder, error.strerror)
            return False
