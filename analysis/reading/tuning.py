"""Which of the settings that an arm was tuned over a table reports: the one that validation prefers."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.reading.records import UNFINISHED, Run
from analysis.statistics import NOISE

VALIDATION = 'validation_accuracy', 'validation_loss'


class Tried(NamedTuple):
    """One setting of the fields that an arm is tuned over."""

    values: tuple[Any, ...]  # of those fields
    accuracy: float | None  # on validation, in [0, 1], mean over seeds; None: it cannot be chosen
    loss: float = math.inf  # nats, likewise, where runs tell it
    why: str = ''  # why it cannot be chosen

    @property
    def text(self) -> str:
        return ', '.join(map(str, self.values))


class Tuning(NamedTuple):
    """What was tried for an arm, and which of it the table reports."""

    fields: tuple[str, ...]
    tried: tuple[Tried, ...]  # in the author's order
    chosen: int  # of `tried`

    @property
    def at_the_end(self) -> bool:
        """Whether the best is the smallest or the largest of several numbers, so that one beyond may be better."""
        values = [one.values[0] for one in self.tried]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if len(self.fields) > 1 or not numbers or len(set(values)) < 2:
            return False
        return values[self.chosen] in (min(values), max(values))


def choose(fields: tuple[str, ...], candidates: Sequence[tuple[tuple[Any, ...], Sequence[Run]]]) -> Tuning:
    """The candidate whose runs have the highest mean accuracy on validation; of those that tie, the lowest mean loss.

    Validation sets are small: a hundred images have a hundred accuracies, and several settings reach the same.

    The test set has no say in it. A candidate with a run that is not finished cannot be chosen: whoever picked it for
    the seeds that went well would not have known before. Where none can be, the first stands for the arm.

    Args:
      candidates: values of `fields`, and the runs that have them, one a seed.
    """
    tried = tuple(Tried(values, *_score(runs)) for values, runs in candidates)
    accuracies = [-1.0 if one.accuracy is None else one.accuracy for one in tried]
    # Means of as many right images that differ by rounding alone tie too.
    best = [place for place, accuracy in enumerate(accuracies) if max(accuracies) - accuracy <= NOISE * max(accuracies)]
    return Tuning(fields, tried, min(best, key=lambda place: tried[place].loss) if max(accuracies) >= 0 else 0)


def _score(runs: Sequence[Run]) -> tuple[float | None, float, str]:
    left = [status for status in UNFINISHED if any(run.status == status for run in runs)]
    if left:
        return None, math.inf, left[0]
    accuracies, losses = ([getattr(run.result, name) for run in runs] for name in VALIDATION)
    if None in accuracies:
        return None, math.inf, 'not validated'
    return float(np.mean(accuracies)), math.inf if None in losses else float(np.mean(losses)), ''
