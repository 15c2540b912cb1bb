"""Checkpoints of a run: the latest few, and of each of them the best on validation until then.

Orbax writes them, beside the thread that trains, and reads them. Each is sealed with checksums once it is whole
(files.checksums), and believed only while they hold.
"""

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from files.checksums import SEAL, check, seal
from files.reading import Damaged, unreadable
from files.writing import writing
from training.progress import Progress
from training.step import State

logger = logging.getLogger(__name__)

FOLDER = 'checkpoints'
STEP = re.compile('[1-9][0-9]*', re.ASCII)  # how a checkpoint's folder is called
UNREADABLE = (OSError, LookupError, ValueError, TypeError, AttributeError)  # what Orbax raises for what it cannot read


# One thread begins all saves of a process: begun in several, Orbax's take each other's signals. They end in others.
_beginning, _ending = ThreadPoolExecutor(1, 'begin checkpoint'), ThreadPoolExecutor(thread_name_prefix='end checkpoint')


class Checkpoints:
    """Saves the checkpoints of the run in `folder`, one at a time, while the run goes on."""

    def __init__(self, folder: Path, keep: int):
        # Orbax removes none, as it would do so before a new one is sealed. best_fn makes it write the metrics down.
        options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics['step'], cleanup_tmp_directories=True)
        self._folder, self._keep = folder.absolute() / FOLDER, keep
        self._saving: Future[Future[None]] | None = None
        with writing(self._folder, Exception):
            self._manager = ocp.CheckpointManager(self._folder, options=options)
            self._bests = {step: _best_known(folder, step) for step in self._manager.all_steps()}

    def save(self, step: int, state: State, progress: Progress) -> None:
        """Starts to save, once the save before has come to its end.

        Raises:
          StorageError: the save before failed.
        """
        self.wait()
        # A copy: the next training step is given what the device has, and may write over it.
        own = ocp.args.StandardSave(jax.tree.map(np.array, state))
        args = ocp.args.Composite(state=own, progress=ocp.args.JsonSave(progress._asdict()))
        self._saving = _beginning.submit(self._begin, step, args, progress.best_step)

    def wait(self) -> None:
        """Until what is being saved is whole and sealed, and what it replaces is gone.

        Raises:
          StorageError: it could not be; then nothing is left of it, and earlier checkpoints are as they were. Or what
            it replaces could not be removed.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result().result()

    def close(self) -> None:
        """Waits, and lets go of Orbax's threads.

        Raises:
          StorageError: as `wait` does.
        """
        try:
            self.wait()
        finally:
            try:
                self._manager.close()
            except Exception:  # of the save that `wait` told of
                logger.debug('closing after a failed save', exc_info=True)

    def _begin(self, step: int, args: ocp.args.Composite, best: int) -> Future[None]:
        with self._whole_or_gone(step):
            self._manager.save(step, args=args, metrics={'step': step})
        return _ending.submit(self._end, step, best)

    def _end(self, step: int, best: int) -> None:
        with self._whole_or_gone(step) as folder:
            self._manager.wait_until_finished()
            seal(folder)
        self._bests[step] = best
        with writing(self._folder, Exception):
            for old in replaced(self._bests, self._keep):
                self._manager.delete(old)
                del self._bests[old]

    @contextlib.contextmanager
    def _whole_or_gone(self, step: int) -> Iterator[Path]:
        """Leaves nothing of a save that fails, which `wait` then tells in the thread that trains."""
        folder = self._folder / str(step)
        try:
            with writing(folder, Exception):
                yield folder
        except BaseException:
            for torn in [folder, *self._folder.glob(f'{step}.*')]:
                shutil.rmtree(torn, ignore_errors=True)
            raise


def replaced(bests: Mapping[int, int], keep: int) -> list[int]:
    """The steps that are neither among the latest `keep` nor, of any of these, the best until then (`bests`, by step).

    Should the newest be damaged, the run goes on from an older one, for which the best that it knew has to be there.
    """
    latest = sorted(bests)[-keep:]
    return sorted(bests.keys() - {*latest, *(bests[step] for step in latest)})


def _best_known(folder: Path, step: int) -> int:
    try:
        return read_progress(folder, step).best_step
    except Damaged:
        return 0  # no run goes on from there


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the run in `folder` has its checkpoint of `step`, if it has one."""
    return folder.absolute() / FOLDER / str(step)


def steps(folder: Path) -> list[int]:
    """The steps of which the run in `folder` has a checkpoint, good or not, in order."""
    names = (path.name for path in (folder / FOLDER).glob('*'))
    return sorted(int(name) for name in names if STEP.fullmatch(name))


def latest_step(folder: Path) -> int:
    """The newest checkpoint of the run in `folder` that was written to its end; 0 if there is none."""
    return max((step for step in steps(folder) if (checkpoint_path(folder, step) / SEAL).exists()), default=0)


def read(folder: Path, step: int, like: State) -> tuple[State, Progress]:
    """The state, in arrays of NumPy, and the progress at a saved step.

    Args:
      like: has the shapes and types (arrays or abstract).
    Raises:
      Damaged: it is not what was saved, or of something else than `like`.
      StorageError: it could not be read just now.
    """
    path = checkpoint_path(folder, step)
    check(path)
    host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)  # a device might not hold all members
    try:
        with ocp.Checkpointer(_handler()) as reader:
            _refuse_others(path, reader.metadata(path).item_metadata['state'].tree, like)
            items = ocp.args.Composite(state=ocp.args.StandardRestore(host), progress=ocp.args.JsonRestore())
            saved = reader.restore(path, args=items)
        state, progress = State(*saved['state']), Progress(**saved['progress'])
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    _refuse_another_step(path, int(state.step))
    return state, progress


def read_progress(folder: Path, step: int) -> Progress:
    """The progress at a saved step, whose checksums hold.

    Raises:
      Damaged: it is not what was saved.
      StorageError: it could not be read just now.
    """
    path = checkpoint_path(folder, step)
    items = ocp.args.Composite(progress=ocp.args.JsonRestore(), metrics=ocp.args.JsonRestore())
    try:
        with ocp.Checkpointer(_handler()) as reader:
            saved = reader.restore(path, args=items)
        progress, of_step = Progress(**saved['progress']), int(saved['metrics']['step'])
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    _refuse_another_step(path, of_step)
    return progress


def _refuse_another_step(path: Path, step: int) -> None:
    """Raises Damaged where a checkpoint of `step` has been given another's name."""
    if path.name != str(step):
        raise Damaged(f'{path} is of step {step}')


def _handler() -> ocp.CompositeCheckpointHandler:
    # Orbax logs a warning for each item that it finds and has no handler for.
    return ocp.CompositeCheckpointHandler(
        state=ocp.StandardCheckpointHandler(),
        progress=ocp.JsonCheckpointHandler(),
        metrics=ocp.JsonCheckpointHandler('metrics'),  # the name of the file, as Orbax's manager writes it
    )


def _refuse_others(path: Path, there: Any, like: State) -> None:
    """Raises Damaged where a leaf has another shape or type: Orbax would convert types, and allocate any shape."""
    found, wanted = leaves(there), leaves(like)
    for name in sorted(found.keys() ^ wanted.keys()):
        raise Damaged(f'{path} is of another model: {name} is only in {"it" if name in found else "this one"}')
    for name in wanted:
        one, other = ((tuple(tree[name].shape), np.dtype(tree[name].dtype)) for tree in (found, wanted))
        if one != other:
            raise Damaged(f'{path} is of another model: {name} is {one[1]}{one[0]}, not {other[1]}{other[0]}')


def leaves(tree: Any) -> dict[str, Any]:
    """Leaves by their path, the same whether a level is a named tuple or the dict that Orbax makes of it."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in paths}
