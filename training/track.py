"""What one member of a population leaves in its run folder while it trains: rows, checkpoints, progress."""

import contextlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from files.reading import Damaged
from files.writing import StorageError
from training.divergence import note
from training.progress import UNKNOWN, Maker, Progress, Spent
from training.recording.log import EMPTY, Mark, MetricsLog, Row
from training.saving import checkpoints
from training.saving.checkpoints import Checkpoints
from training.saving.resume import set_aside
from training.step import State, Sums

logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """A run to train; its seed and training.optimiser.Rates may differ from those of the others beside it."""

    config: ConfigDict
    folder: Path
    report: Callable[[Row, int], None]  # called with each row of metrics, and the number of steps in the run
    maker: Maker = UNKNOWN  # what trains it: written down with its progress, and told where it changes


class Track:
    """A member's files and progress. Once it has diverged it leaves no rows, and a note in place of checkpoints."""

    def __init__(self, member: Member, steps: int, compile_seconds: float, start: int, progress: Progress | None):
        """`start` and `progress` are of training.saving.resume.common_start."""
        self.config, self.folder, self.report, self.steps = member.config, member.folder, member.report, steps
        self.progress = (progress or Progress(0.0)).by(member.maker)
        self.diverged_step: int | None = self.progress.diverged_step or None
        self.first_bad_operation = self.progress.first_bad_operation
        makers = self.progress.makers
        if len(makers) > 1 and makers is not progress.makers:  # one was added just now
            logger.warning(
                '%s resumes from step %s, but not as it began (%s): its numbers are of both; a new folder would '
                'hold those of one', self.folder, f'{start:,}', _changes(*makers[-2:]),
            )  # fmt: skip
        self.progress = self.progress._replace(compile_seconds=self.progress.compile_seconds + compile_seconds)
        self.saved = start  # the newest step that is saved, or is being saved
        mark = Mark(**progress.rows) if progress else EMPTY
        with contextlib.ExitStack() as opened:
            self.checkpoints = Checkpoints(self.folder, self.config.checkpoint.keep)
            opened.callback(self.checkpoints.close)
            self.log = MetricsLog(self.folder, start, mark, self.config)
            opened.pop_all()

    @property
    def diverged(self) -> bool:
        return self.diverged_step is not None

    @property
    def keeps_last(self) -> bool:
        """Whether its params of the last step stay: they are those that count, or none do."""
        return self.diverged or self.selected() == self.steps

    def restore(self, step: int, like: State) -> State:
        """The state at a saved step; `like` has the shapes and types. Of one that has diverged, any: none looks at it.

        Raises:
          StorageError: it was damaged since this run began, or other code made it, which looking at its checksums did
            not tell; it is set aside, so that the run goes on without it when it begins again.
        """
        if self.diverged:
            return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        self.checkpoints.wait()
        try:
            return checkpoints.read(self.folder, step, like)[0]
        except Damaged as error:
            set_aside(self.folder, step, str(error))
            raise StorageError(f'{error}; the same command resumes from an earlier one, or starts anew') from error

    def row(self, row: Row) -> None:
        self.log.write(row)
        self.report(row, self.steps)

    def train_row(self, sums: Sums, row: Row) -> None:
        """Logs the means of `sums` beside what `row` says of all members; its learning rate is relative."""
        self.heard(int(sums.diverged))
        if self.diverged and row['step'] >= self.diverged_step:
            return  # an accelerator may tell of a step before the rows of steps before it are written
        loss, correct, examples = (float(value) for value in (sums.loss, sums.correct, sums.examples))
        if not math.isfinite(loss):  # finite ones, whose sum is not
            self.diverged_step = int(row['step'])
            return
        means = {'train_loss': loss / examples, 'train_accuracy': correct / examples}
        self.row(row | means | {'learning_rate': row['learning_rate'] * self.config.train.learning_rate})

    def heard(self, diverged: int) -> None:
        """Takes note of the step at which the member diverged, if it did; 0: it did not."""
        if diverged and not self.diverged:
            self.diverged_step = diverged

    def validated(self, step: int, spent: Spent, scores: dict[str, Any], state: State) -> None:
        """Logs and saves what more training made of it."""
        if not self.diverged and not math.isfinite(scores['loss']):
            self.diverged_step = step
        if self.diverged:
            self._note()
            return
        self.row({'step': step, 'validation_accuracy': scores['accuracy'], 'validation_loss': scores['loss']})
        self.progress = self.progress.validated(step, scores)
        self._save(step, spent, state)

    def interrupted(self, step: int, spent: Spent, state: State) -> None:
        """Saves a step at which nothing else would be saved, and waits until it is."""
        if self.diverged:
            self._note()
        elif step > self.saved:
            self._save(step, spent, state)
        self.checkpoints.wait()

    def _save(self, step: int, spent: Spent, state: State) -> None:
        self.progress = self.progress.after(spent, self.log.mark())
        self.checkpoints.save(step, state, self.progress)
        self.saved = step

    def _note(self) -> None:
        if not self.progress.diverged_step:
            self.progress = self.progress._replace(
                diverged_step=self.diverged_step,
                first_bad_operation=self.first_bad_operation,
                rows=self.log.mark()._asdict(),
            )
            note(self.folder, self.progress)

    def finished(self, result: dict[str, Any]) -> None:
        """Logs how the run ended, as `result` (of training.loop.train) has it."""
        if result['status'] == 'finished':
            test = {f'test_{name}': result['test'][name] for name in ('accuracy', 'loss')}
            self.log.finish({'step': self.steps, **test, 'mean_images_per_second': result['images_per_second']})

    def selected(self) -> int:
        """The step whose params count."""
        return self.progress.selected(self.config.checkpoint.select, self.steps)

    def __enter__(self) -> 'Track':
        return self

    def __exit__(self, kind: type | None, *error) -> None:
        failures = []
        for close in (lambda: self.log.__exit__(kind, *error), self.checkpoints.close):  # both, whatever the first does
            try:
                close()
            except StorageError as failure:
                failures.append(failure)
        if failures and kind is None:
            raise failures[0]
        for failure in failures:
            logger.warning('%s', failure)  # what ended the run goes before it


def _changes(before: Maker, now: Maker) -> str:
    """The fields of one maker that another has otherwise."""
    return '; '.join(
        f'{group}.{name}={before.get(group, {}).get(name, "unknown")} before, {value} now'
        for group, fields in now.items()
        for name, value in fields.items()
        if before.get(group, {}).get(name) != value
    )
