"""What a run knows of itself beside its arrays, and by it which of its steps counts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from training.recording.log import EMPTY, Mark


class Spent(NamedTuple):
    """Seconds of training, in how many of them the devices had nothing to do, at most, and how many devices."""

    seconds: float = 0.0
    idle: float = 0.0
    devices: int = 1


Maker = dict[str, dict[str, Any]]  # code, data, versions, device and division, each with its fields
UNKNOWN: Maker = {}


class Progress(NamedTuple):
    """Saved with each checkpoint, and resumed with, so that times and selection go on.

    Where the data is, and the keys of what is random, are functions of the seed and the step.
    """

    compile_seconds: float
    train_seconds: float = 0.0  # steps alone: no compilation, validation or saving
    idle_seconds: float = 0.0  # of these, with nothing for the device to do, at most
    device_seconds: float = 0.0  # the same steps', of all devices: a run may go on on another number of them
    validation: dict[str, float] | None = None  # accuracy and loss at the latest checkpoint that was validated
    best: dict[str, float] | None = None  # those of the best checkpoint
    best_step: int = 0
    rows: dict[str, Any] = EMPTY._asdict()  # of metrics.jsonl: a training.recording.log.Mark
    makers: Sequence[Maker] = ()  # who made the steps until here, each that differs from the one before it
    diverged_step: int = 0  # by which loss or gradients were not finite; 0: they were, as in every checkpoint
    first_bad_operation: str | None = None  # of that step; None: it was not looked for, or not found

    def after(self, spent: Spent, rows: Mark) -> 'Progress':
        """With more training behind it, and the rows that it wrote."""
        return self._replace(
            train_seconds=self.train_seconds + spent.seconds,
            idle_seconds=self.idle_seconds + spent.idle,
            device_seconds=self.device_seconds + spent.seconds * spent.devices,
            rows=rows._asdict(),
        )

    def by(self, maker: Maker) -> 'Progress':
        """With `maker` making what comes next."""
        return self if self.makers and self.makers[-1] == maker else self._replace(makers=[*self.makers, maker])

    def validated(self, step: int, scores: dict[str, Any]) -> 'Progress':
        """With the validation `scores` of `step`."""
        validation = {'accuracy': scores['accuracy'], 'loss': scores['loss']}
        improved = self.best is None or merit(validation) > merit(self.best)
        return self._replace(
            validation=validation,
            best=validation if improved else self.best,
            best_step=step if improved else self.best_step,
        )

    def selected(self, rule: str, latest: int) -> int:
        """The step whose params count, by `checkpoint.select`, when `latest` is the newest."""
        return self.best_step if rule == 'best' and self.best_step else latest


def merit(validation: dict[str, float]) -> tuple[float, float]:
    """Selection's rule: accuracy on validation, then its loss; the earlier of equals."""
    return validation['accuracy'], -validation['loss']
