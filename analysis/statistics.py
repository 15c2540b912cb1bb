"""What a few seeds allow one to say: intervals, paired tests, and which arms the data cannot tell from the best."""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

# Differences below this share of the largest value are rounding, not spread. It lies above float32's 6e-8, in which
# accuracies may have been divided, and below one image in half a million. Without it, differences of accuracies that
# are equal on paper (0.97 - 0.96, 0.96 - 0.95) have a spread of 1e-17, and t claims p = 1e-15 from two seeds.
NOISE = 1e-6

SIGNIFICANCE = 0.05
UPPER = 0.975  # where a 95% interval ends

Values = Sequence[float] | np.ndarray  # one number per seed
Arm = Hashable  # what names one


class Interval(NamedTuple):
    """A mean and its confidence interval, in the values' unit; `low` and `high` are NaN where there is none."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Difference(NamedTuple):
    """What one arm has more than another, paired by seed.

    `interval` is that of the mean difference over the seeds that both have, by itself: no correction made it wider.
    `p_value` is Holm-corrected over the pairs that were tested along with it; None where there was nothing to test.
    """

    interval: Interval
    p_value: float | None

    @property
    def reversed(self) -> 'Difference':
        """What the second has more than the first."""
        mean, low, high, count = self.interval
        # Taken from zero, since -0.0 would be written as that.
        return Difference(Interval(0 - mean, 0 - high, 0 - low, count), self.p_value)


class Comparison(NamedTuple):
    """Which arm is best, and which the data cannot tell from it.

    `differences` holds, for every arm that was tested, its value less the best's. Arms without one are neither in
    `indistinguishable` nor different.
    """

    best: Arm | None
    indistinguishable: tuple[Arm, ...]
    differences: dict[Arm, Difference]


def mean_and_interval(values: Values, complete: bool = True) -> Interval:
    """Mean and Student's t interval, of 95%, with n - 1 degrees of freedom (Student 1908).

    One value has a mean and no interval (NaN, never zero); no value has neither. Values that tie exactly have no
    interval either: accuracies are counts over a test set, so two seeds tie by chance often enough, and `± 0` would
    claim a certainty that they do not give. Nor has what is not `complete`: runs that diverged or failed are missing,
    and the survivors are no fair sample. Raises ValueError when a value is not finite.

    The mean is that of more seeds on the same test set. What another test set would say is not in the interval, since
    all runs share the images: see `sampling_half_width`.

    Resampled, 95% intervals of 3, 5 and 10 seeds cover as they say, within 2 points, for normal, moderately skewed
    (gamma, skewness 1) and heavy-tailed scores, and for counts over 100 or 1,000 test images. Where a few seeds fail
    badly they cover less: 90, 88 and 90% for exponential errors, of skewness 2. Where a seed either learns the task or
    stays at chance they cover 72, 91 and 94% if two seeds in five learn, and 49, 67 and 89% if one in five does: the
    seeds say more than the interval then (tests/reliability/test_statistics.py).
    """
    values = _finite(values)
    if len(values) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    if not complete or len(values) == 1 or _is_constant(values, scale=np.abs(values).max()):
        return Interval(mean, np.nan, np.nan, len(values))
    half = _half_width(float(values.std(ddof=1)) / math.sqrt(len(values)), len(values))
    return Interval(mean, mean - half, mean + half, len(values))


def sampling_half_width(accuracy: float, images: int) -> float:
    """Half of the 95% interval that an accuracy has for the images it was measured on (Wilson 1927); in [0, 1].

    Of a model on as many other images from the same source; seeds that share them share the error. Not zero where all
    images are right, as it is not certain that others would be.
    """
    z = _special().ndtri(UPPER)
    spread = np.sqrt(accuracy * (1 - accuracy) / images + (z / (2 * images)) ** 2)
    return float(z * spread / (1 + z**2 / images))


def paired_difference(first: Values, second: Values, resolution: float = 0.0) -> Difference:
    """What `first` has more than `second`, from values paired by seed; of one pair a mean alone, of none nothing.

    Student's paired t interval and two-sided test, made safe where the differences have next to no spread and t would
    be infinite. Accuracies are counts over a test set, so the differences of two or three seeds tie by chance often
    enough, and p = 0 would be a false claim. `resolution` is the step in which values can move (one image: 1 / test
    examples); the spread (standard deviation of the differences) is taken to be at least that. Without a resolution,
    equal differences have no interval, and are tested by sign flips (Fisher 1935): 2^(1 - n), the smallest p that n
    pairs can give when no spread is assumed. Differences that are all zero have p = 1.

    Raises ValueError when lengths differ or a value is not finite.
    """
    first, second = _finite(first), _finite(second)
    if len(first) != len(second):
        raise ValueError(f'paired values must come in pairs: {len(first)} and {len(second)} values')
    differences, count = first - second, len(first)
    if count < 2:
        return Difference(mean_and_interval(differences), None)
    mean, spread = float(differences.mean()), max(float(differences.std(ddof=1)), resolution)
    scale = max(np.abs(first).max(), np.abs(second).max())
    equal = np.abs(differences).max() <= NOISE * scale
    if spread <= NOISE * scale:
        return Difference(Interval(mean, np.nan, np.nan, count), 1.0 if equal else 2.0 ** (1 - count))
    error = spread / math.sqrt(count)
    half = _half_width(error, count)
    p_value = 1.0 if equal else float(2 * _special().stdtr(count - 1, -abs(mean) / error))
    return Difference(Interval(mean, mean - half, mean + half, count), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): p-values that hold for the whole family, in the order given.

    Raises ValueError when a p-value lies outside [0, 1].
    """
    p_values = np.asarray(p_values, dtype=float)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f'p-values must lie in [0, 1]: {p_values.tolist()}')
    order = np.argsort(p_values, kind='stable')
    multipliers = len(p_values) - np.arange(len(p_values))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * multipliers))
    return corrected.tolist()


def differences(
    values: Mapping[Arm, Mapping[int, float]],
    pairs: Sequence[tuple[Arm, Arm]],
    resolutions: Sequence[float | None],
) -> list[Difference]:
    """The first arm's value less the second's, for each of `pairs`, tested over the seeds that both have.

    `values[arm][seed]` is a score. The tests are those of `paired_difference`, Holm-corrected over those of `pairs`
    that can be tested, which takes two seeds in common. For pairs that were named before anyone saw the scores, the
    chance that one of those that are truly equal has p <= 0.05 is at most 5%, however they overlap (Holm 1979).

    `resolutions` has for each pair the step in which its values move, which `paired_difference` explains, or None where
    the two cannot be compared and have no difference at all: an arm's runs are not all there, and the survivors are no
    fair sample of it, or the two were tested on different images.
    """
    found = []
    for (first, second), resolution in zip(pairs, resolutions, strict=True):
        seeds = [] if resolution is None else sorted(values[first].keys() & values[second].keys())
        ours, theirs = ([values[arm][seed] for seed in seeds] for arm in (first, second))
        found.append(paired_difference(ours, theirs, resolution or 0.0))
    tested = [place for place, one in enumerate(found) if one.p_value is not None]
    for place, p_value in zip(tested, holm([found[place].p_value for place in tested]), strict=True):
        found[place] = found[place]._replace(p_value=p_value)
    return found


def indistinguishable_from_best(
    values: Mapping[Arm, Mapping[int, float]],
    incomplete: Collection[Arm] = (),
    resolution: float = 0.0,
) -> Comparison:
    """The arm with the highest mean, and the arms not distinguishable from it at SIGNIFICANCE.

    `values[arm][seed]` is a score, higher being better. Each arm meets the best in a paired test over the seeds that
    both have, Holm-corrected over the arms tested (`differences`; `paired_difference` explains `resolution`). Arms in
    `incomplete` (a run diverged, failed or is missing) are left out, neither best nor tested: the survivors of an arm
    are not a fair sample of it. So are arms of one seed, which no test can weigh. Where no arm can be tested against
    the highest, none is best: it would be best of itself.

    What the marks promise: an arm that is truly as good as the best keeps its mark in at least 95% of tables. The
    best is picked by the same data, so when *all* of k arms are equal, the chance that *some* arm loses its mark is
    higher: 5% for 2 arms, simulated 9% for 11 arms of 3 seeds, 14% for 11 of 10 and 18% for 33 of 5. (Correcting over
    all k (k - 1) / 2 pairs would bring it below 5%, at the price of nearly all power at 3 seeds.)
    """
    candidates = [arm for arm in values if arm not in incomplete and len(values[arm]) >= 2]
    if not candidates:
        return Comparison(None, (), {})
    means = {arm: float(np.mean(_finite(list(values[arm].values())))) for arm in candidates}
    highest = max(means.values())
    # Means that differ by rounding alone tie, and the first in the author's order is printed as best.
    best = next(arm for arm in candidates if highest - means[arm] <= NOISE * abs(highest))
    others = [arm for arm in candidates if arm != best]
    met = differences(values, [(arm, best) for arm in others], [resolution] * len(others))
    tested = {arm: difference for arm, difference in zip(others, met, strict=True) if difference.p_value is not None}
    if not tested:
        return Comparison(None, (), {})
    alike = tuple(arm for arm, difference in tested.items() if difference.p_value > SIGNIFICANCE)
    return Comparison(best, alike, tested)


def _half_width(error: float, count: int) -> float:
    """Half of Student's 95% interval of the mean of `count` values that has that standard error."""
    return float(_special().stdtrit(count - 1, UPPER)) * error


def _special() -> ModuleType:
    """scipy.special, of which scipy.stats is made: the same bits, in a hundredth of the time.

    Imported at the first test: commands that have no table to make need not wait for it.
    """
    from scipy import special

    return special


def _finite(values: Values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if not np.all(np.isfinite(values)):
        raise ValueError(f'values must be finite: {values.tolist()}')
    return values


def _is_constant(values: np.ndarray, scale: float) -> bool:
    return bool(np.ptp(values) <= NOISE * scale)
