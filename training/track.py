"""What one member of a population leaves in its run folder while it trains: rows, checkpoints, progress."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from training import checkpoints
from training.checkpoints import Progress, Spent
from training.log import MetricsLog, Row
from training.step import State, Sums


class Member(NamedTuple):
    """A run to train; its seed and training.optimiser.Rates may differ from those of the others beside it."""

    config: ConfigDict
    folder: Path
    report: Callable[[Row, int], None]  # called with each row of metrics, and the number of steps in the run


class Track:
    """A member's files and progress. Once its loss is not finite it leaves no more rows and no more checkpoints."""

    def __init__(self, member: Member, steps: int, compile_seconds: float):
        self.config, self.report, self.steps = member.config, member.report, steps
        self.diverged_step: int | None = None
        self.progress = Progress(compile_seconds=compile_seconds)
        self.manager = checkpoints.open_checkpoints(member.folder, member.config.checkpoint.keep)
        self.start = self.manager.latest_step() or 0
        self.log = MetricsLog(member.folder, self.start, member.config)

    def restore(self, like: State) -> State:
        """The state at the newest checkpoint; `like` has the shapes and types."""
        state, progress = checkpoints.restore(self.manager, self.start, like)
        self.progress = progress._replace(compile_seconds=progress.compile_seconds + self.progress.compile_seconds)
        return state

    def row(self, row: Row) -> None:
        self.log.write(row)
        self.report(row, self.steps)

    def train_row(self, sums: Sums, row: Row) -> None:
        """Logs the means of `sums` beside what `row` says of all members; its learning rate is relative."""
        if self.diverged_step is not None:
            return
        loss, correct, examples = (float(value) for value in sums)
        if not math.isfinite(loss):
            self.diverged_step = int(row['step'])
            return
        means = {'train_loss': loss / examples, 'train_accuracy': correct / examples}
        self.row(row | means | {'learning_rate': row['learning_rate'] * self.config.train.learning_rate})

    def validated(self, step: int, spent: Spent, scores: dict[str, Any], state: State) -> None:
        """Logs and saves what more training made of it."""
        if self.diverged_step is None and not math.isfinite(scores['loss']):
            self.diverged_step = step
        if self.diverged_step is not None:
            return
        self.row({'step': step, 'validation_accuracy': scores['accuracy'], 'validation_loss': scores['loss']})
        self.progress = self.progress.after(step, spent, scores)
        checkpoints.save(self.manager, step, state, self.progress)

    def finished(self, result: dict[str, Any]) -> None:
        """Logs how the run ended, as `result` (of training.loop.train) has it."""
        if result['status'] == 'finished':
            test = {f'test_{name}': result['test'][name] for name in ('accuracy', 'loss')}
            self.log.finish({'step': self.steps, **test, 'images_per_second': result['images_per_second']})

    def selected(self) -> int:
        """The step whose params count."""
        return self.progress.selected(self.config.checkpoint.select, self.steps)

    def __enter__(self) -> 'Track':
        return self

    def __exit__(self, *error) -> None:
        self.log.__exit__(*error)
        self.manager.close()
