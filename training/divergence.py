"""The note in a run's folder that it diverged: it saves no more, and the others of its population go on without it."""

import logging
from pathlib import Path

from files.checksums import read_verified, with_checksum
from files.reading import Damaged
from files.writing import write_json, writing
from training.progress import Progress
from training.recording import log
from training.recording.log import Mark

NOTE = 'diverged.json'
FIELDS = ('diverged_step', 'first_bad_operation', 'rows', 'makers')  # of Progress: all that its end is made of
LATEST = 2**31  # no step is later

logger = logging.getLogger(__name__)


def note(folder: Path, progress: Progress) -> None:
    """Writes down that the run in `folder` has diverged. Raises StorageError."""
    write_json(folder / NOTE, with_checksum({name: getattr(progress, name) for name in FIELDS}))


def noted(folder: Path) -> Progress | None:
    """The progress of a run of which it is noted that it diverged; None: it is not, or, as a warning says, not well.

    Raises StorageError: the note could not be read just now.
    """
    path = folder / NOTE
    try:
        fields = read_verified(path)
        if fields is None:
            return None
        progress = Progress(0.0, **{name: fields[name] for name in FIELDS})
        if not _is_one(progress) or not log.holds(folder, Mark(**progress.rows)):
            raise Damaged(f'is not of this run and its {log.METRICS}')
        return progress
    except (Damaged, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        logger.warning('%s %s; the run continues as if it were not there', path, error)
        return None


def forget(folder: Path) -> None:
    """Removes the note of a run that goes on from before its divergence. Raises StorageError."""
    with writing(folder / NOTE):
        (folder / NOTE).unlink()


def _is_one(progress: Progress) -> bool:
    """Whether what anybody may have written is of the right types."""
    return (
        type(progress.diverged_step) is int
        and 0 < progress.diverged_step < LATEST
        and isinstance(progress.first_bad_operation, str | None)
        and isinstance(progress.makers, list)
        and all(isinstance(fields, dict) for maker in progress.makers for fields in maker.values())
    )
