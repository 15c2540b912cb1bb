"""Which of the settings that an arm was tuned over a table reports: the one that validation prefers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.reading.records import UNFINISHED, Run
from analysis.statistics import NOISE
from files.values import is_number

VALIDATION = 'validation_accuracy', 'validation_loss'


class Tried(NamedTuple):
    """One setting of the fields that an arm is tuned over."""

    values: tuple[Any, ...]  # of those fields
    accuracy: float | None  # on validation, in [0, 1], mean over seeds; None: it cannot be chosen
    loss: float = math.inf  # nats, likewise, where runs tell it
    why: str = ''  # why it cannot be chosen


class Tuning(NamedTuple):
    """What was tried for an arm, and which of it the table reports."""

    fields: tuple[str, ...]
    tried: tuple[Tried, ...]  # in the author's order
    chosen: int  # of `tried`

    @property
    def at_the_end(self) -> tuple[str, ...]:
        """Fields of which the smallest or the largest of several numbers was chosen, so that one beyond may be better.

        Each is judged by itself: a grid has an end in every direction.
        """
        columns = zip(self.fields, zip(*(one.values for one in self.tried), strict=True), strict=True)
        return tuple(field for field, values in columns if _is_an_end(values[self.chosen], values))

    def setting(self, tried: Tried, called: Mapping[str, str]) -> str:
        """The values of `tried` as a table writes them.

        Args:
          called: what `names` calls the fields that the table speaks of.
        """
        values = zip(self.fields, tried.values, strict=True)
        return ' with '.join(f'{called[field]} {value}'.lstrip() for field, value in values)


def names(fields: Sequence[str]) -> dict[str, str]:
    """What each of `fields` is called beside its values: its last part, if no other has the same.

    Nothing where it is the only one: whoever lists its values has named it, and they cannot be another's.
    """
    if len(fields) == 1:
        return {fields[0]: ''}
    short = {field: field.rpartition('.')[2] for field in fields}
    return short if len(set(short.values())) == len(fields) else {field: field for field in fields}


def _is_an_end(value: Any, values: Sequence[Any]) -> bool:
    return all(map(is_number, values)) and len(set(values)) > 1 and value in (min(values), max(values))


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
