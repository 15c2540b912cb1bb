"""The pairs of arms that a sweep asks to compare, tested as one family."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import pandas as pd

from analysis import statistics
from analysis.reading import records, runs
from analysis.wording import distinct

COLUMNS = ('arm', 'against', 'difference', 'low', 'high', 'n', 'p_value')

Pair = tuple[Hashable, Hashable]  # what names its two
TestSet = tuple[str | None, int, str | None]  # a dataset's name, how many of its images, and their fingerprint


def test_sets(arms: Sequence[runs.Arm], split: str) -> list[list[TestSet]]:
    """What the finished runs of each arm were tested on, each once; an unknown fingerprint is taken for the known.

    Args:
      split: whose images the fingerprints are of; the number of images is the test set's.
    """
    known: dict[str | None, str] = {}  # by name
    for run in (run for arm in arms for run in arm.finished if split in run.result.fingerprints):
        known.setdefault(records.config_text(run, 'data.name'), run.result.fingerprints[split])

    def of(run: records.Run) -> TestSet:
        name = records.config_text(run, 'data.name')
        return name, run.result.test_examples, run.result.fingerprints.get(split, known.get(name))

    return [distinct(of(run) for run in arm.finished) for arm in arms]


def compare(
    arms: Sequence[runs.Arm], sets: Sequence[Sequence[TestSet]], scores: Mapping[str, Sequence[Mapping[int, float]]]
) -> pd.DataFrame:
    """A row for each condition and each pair that `arms` ask for; differences are of fractions, in [0, 1].

    Arms that are not complete, or were tested on different images, are not compared. All tests are one family, in which
    a pair counts once where a condition changes neither of its arms, and where both of them ask for it: what one has
    more than the other is what the other has less.

    Args:
      sets: what each arm was tested on.
      scores: by condition (its name, or '' where there is but one), for each arm an accuracy by seed.
    """
    asked = runs.pairs(arms)
    values = {(condition, place): of for condition, of_arms in scores.items() for place, of in enumerate(of_arms)}

    def first_alike(condition: str, place: int) -> tuple[str, int]:
        return next((one, place) for one in scores if values[one, place] == values[condition, place])

    places = {
        (condition, pair): tuple(first_alike(condition, place) for place in pair)
        for condition in scores
        for pair in asked
    }
    once = _either_way_once(places.values())
    resolutions = [_resolution(arms, sets, *(place for _, place in pair)) for pair in once]
    found = dict(zip(once, statistics.differences(values, once, resolutions), strict=True))
    rows = []
    for (condition, (place, other)), pair in places.items():
        interval, p_value = found[pair] if pair in found else found[pair[::-1]].reversed
        rows.append((condition, arms[place].label, arms[other].label, *interval, p_value))
    return pd.DataFrame(rows, columns=('condition', *COLUMNS))


def tested(arms: Sequence[runs.Arm], p_values: Iterable[float | None]) -> int:
    """Over how many tests the p-values of one condition are corrected: pairs that both arms ask for are one test each.

    Args:
      p_values: of the rows that `compare` gave, in their order.
    """
    asked = zip(runs.pairs(arms), p_values, strict=True)
    return len(_either_way_once(pair for pair, p_value in asked if pd.notna(p_value)))


def asked_by_both(arms: Sequence[runs.Arm]) -> bool:
    """Whether two of `arms` ask to be compared with each other, so that their pair has two rows."""
    asked = runs.pairs(arms)
    return len(_either_way_once(asked)) < len(asked)


def _either_way_once(pairs: Iterable[Pair]) -> list[Pair]:
    """Each pair once, whichever of the two comes first, in the order of first sight, and as it was then."""
    once: dict[frozenset, Pair] = {}
    for pair in pairs:
        once.setdefault(frozenset(pair), pair)
    return list(once.values())


def _resolution(arms: Sequence[runs.Arm], sets: Sequence[Sequence[TestSet]], first: int, second: int) -> float | None:
    """One image of the test set that two arms share; None where they cannot be compared."""
    shared = distinct((*sets[first], *sets[second]))
    comparable = arms[first].complete and arms[second].complete and len(shared) == 1
    return 1 / shared[0][1] if comparable else None
