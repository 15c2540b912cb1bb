"""From which step a run goes on: the newest from which it comes to the same end as if nothing had happened."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from files.checksums import check
from files.reading import Damaged
from files.writing import writing
from training.divergence import forget, noted
from training.progress import Progress
from training.recording import log
from training.recording.log import Mark
from training.saving.checkpoints import checkpoint_path, read_progress, steps

logger = logging.getLogger(__name__)

SET_ASIDE = 'checkpoints_set_aside'


def common_start(folders: Sequence[Path], rule: str) -> tuple[int, list[Progress | None]]:
    """The newest step from which the runs in all `folders` can go on, as `resume` has it, and their progress there.

    Those that have diverged by then need no checkpoint of it: their progress is as noted.
    """
    diverged = {folder: progress for folder in folders if (progress := noted(folder))}
    latest = None
    while True:
        starts = {folder: resume(folder, rule, latest) for folder in folders if folder not in diverged}
        last = max((one.diverged_step for one in diverged.values()), default=0)
        latest = min((step for step, _ in starts.values()), default=last)
        before = [folder for folder, one in diverged.items() if one.diverged_step > latest]
        for folder in before:
            forget(folder)
            del diverged[folder]
        if not before and all(step == latest for step, _ in starts.values()):
            return latest, [diverged[folder] if folder in diverged else starts[folder][1] for folder in folders]


def resume(folder: Path, rule: str, latest: int | None = None) -> tuple[int, Progress | None]:
    """The newest step from which the run in `folder` ends as if it had never been interrupted; 0: it starts over.

    That needs its checkpoint, the one that it would select by `rule` (`checkpoint.select`), and the rows until then.
    Newer checkpoints, and damaged ones, are set aside, each with a warning that says why.

    Args:
      latest: the newest step that will do, because the others of a population are no further; None: any.
    Raises:
      StorageError: a checkpoint could not be read, or set aside.
    """
    for step in steps(folder):
        try:
            check(checkpoint_path(folder, step))
        except Damaged as error:
            set_aside(folder, step, str(error))
    for step in reversed(steps(folder)):
        path = checkpoint_path(folder, step)
        try:
            if latest is not None and step > latest:
                raise Damaged(f'{path} is newer than where the other runs of its population resume')
            progress = read_progress(folder, step)
            selected = progress.selected(rule, step)
            if selected not in steps(folder):
                best = checkpoint_path(folder, selected)
                raise Damaged(f'{best}, the best on validation when {step} was saved, is gone')
            if not log.holds(folder, Mark(**progress.rows)):
                raise Damaged(f'{folder / log.METRICS} is not what it was when {path} was saved')
            return step, progress
        except Damaged as error:
            set_aside(folder, step, str(error))
    return 0, None


def set_aside(folder: Path, step: int, why: str) -> None:
    """Moves a checkpoint to where nobody looks for one: the run will come to its step again."""
    names = (str(step) if number == 1 else f'{step}-{number}' for number in itertools.count(1))
    there = next(path for path in (folder / SET_ASIDE / name for name in names) if not path.exists())
    logger.warning('%s; it is set aside in %s, and the run resumes from an earlier one, or starts anew', why, there)
    with writing(there, Exception):
        there.parent.mkdir(exist_ok=True)
        checkpoint_path(folder, step).rename(there)
