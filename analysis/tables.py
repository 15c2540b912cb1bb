"""The table of a sweep: one row per arm, its best arms marked, and under it what a reviewer asks for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis import cautions, pairs, statistics
from analysis.cautions import CONSTANT
from analysis.notes import (
    MEAN_DIFFERENCE,
    SPREAD,
    budget_notes,
    origin_notes,
    pairs_notes,
    speed_notes,
    tuning_notes,
    width_notes,
)
from analysis.reading import records, runs
from analysis.wording import capped, distinct

UNTESTED = statistics.Difference(statistics.mean_and_interval([]), None)
SPEEDS = ('images_per_second', 'flops_per_second', 'mfu', 'host_gap_share')
# By analysis.statistics.indistinguishable_from_best.
PICKED = (
    'The best arm was picked by these same runs: were all arms equal, some arm would be found to differ in over 5% '
    'of tables (simulated: 9% with 11 arms of 3 seeds, 18% with 33 of 5). '
)


class Table(NamedTuple):
    """A sweep's table: `arms` holds raw numbers, one row per arm in the author's order; `notes` go under it.

    Accuracies in `arms` are fractions in [0, 1], as are mfu and host_gap_share; forward_flops is per image,
    train_step_flops of a batch; difference is to the best arm, paired by seed; p_value is Holm-corrected, against the
    best arm; mark is 'best', 'indistinguishable' or ''. Speeds are means over runs, and those of devices are missing
    where results tell none.

    `pairs` has a row for each pair of arms that the sweep asks to compare: difference is the first less the second,
    paired by seed, and p_value Holm-corrected over these pairs alone, of which the best arm is no matter.

    `runs` has a row for each run that counts in an arm, from which means, intervals, differences and p-values can be
    computed again.
    """

    arms: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    notes: tuple[str, ...]


def make_table(sweep: runs.Sweep) -> Table:
    """The table of what `runs.read` found."""
    finished = [run for arm in sweep.arms for run in arm.finished]
    sets = pairs.test_sets(sweep.arms, 'test')
    datasets = distinct(one for of_arm in sets for one in of_arm)
    scores = [{run.seed: run.result.accuracy for run in arm.finished} for arm in sweep.arms]
    of_best = _compare(sweep.arms, datasets, scores)
    of_pairs = pairs.compare(sweep.arms, sets, {'': scores}).drop(columns='condition')
    arms = pd.DataFrame([_row(arm, key, of_best) for key, arm in enumerate(sweep.arms)])
    arms = arms.astype(dict.fromkeys((*CONSTANT, 'train_step_flops'), 'Int64'))
    warnings = [*sweep.warnings, *_warnings(sweep.arms, sets)]
    notes = [_statistics_note(arms, of_best)]
    if finished and len(datasets) == 1:
        notes[0] += _sampling_note(arms, of_best, datasets[0][1])
    notes += _pairs_notes(sweep.arms, of_pairs)
    if of_best.differences or of_pairs['p_value'].notna().any():
        notes.append(SPREAD)
    if finished:
        notes += [*budget_notes(finished), *tuning_notes(sweep.arms), *width_notes(sweep.arms)]
        notes += [*speed_notes(finished), *origin_notes(finished)]
    of_runs = pd.DataFrame([_run_row(arm, run) for arm in sweep.arms for run in arm.runs]).astype(
        {'seed': 'Int64', 'test_examples': 'Int64'}
    )
    return Table(arms, of_pairs, of_runs, (*notes, *(f'Warning: {warning}.' for warning in capped(warnings))))


def _compare(
    arms: Sequence[runs.Arm], datasets: Sequence[pairs.TestSet], scores: Sequence[Mapping[int, float]]
) -> statistics.Comparison:
    """Compares arms with the best, by their places: labels need not be unique."""
    # Accuracies on different test sets have no best: no marks then.
    incomplete = [place for place, arm in enumerate(arms) if len(datasets) > 1 or not arm.complete]
    one_image = 1 / datasets[0][1] if datasets else 0.0
    return statistics.indistinguishable_from_best(dict(enumerate(scores)), incomplete, resolution=one_image)


def _row(arm: runs.Arm, key: int, comparison: statistics.Comparison) -> dict[str, Any]:
    finished = arm.finished
    results = [run.result for run in finished]
    interval = statistics.mean_and_interval([result.accuracy for result in results], arm.complete)
    (difference, low, high, _), p_value = comparison.differences.get(key, UNTESTED)
    mark = 'best' if key == comparison.best else 'indistinguishable' if key in comparison.indistinguishable else ''
    return {
        'arm': arm.label,
        'test_accuracy': interval.mean,
        'low': interval.low,
        'high': interval.high,
        'n': len(finished),
        'runs': len(arm.runs),
        **arm.unfinished,
        'difference': difference,
        'difference_low': low,
        'difference_high': high,
        'p_value': p_value,
        'mark': mark,
        'params': _only(result.params for result in results),
        'forward_flops': _only(result.forward_flops for result in results),
        **{name: _mean(getattr(result, name) for result in results) for name in SPEEDS},
        'train_step_flops': _only(result.train_step_flops for result in results),
        'steps': _only(result.steps for result in results),
        'images_seen': _only(result.images_seen for result in results),
    }


def _run_row(arm: runs.Arm, run: records.Run) -> dict[str, Any]:
    row = {'arm': arm.label, 'seed': run.seed, 'run': run.name, 'status': run.status}
    result = run.result
    told = (None,) * 3 if result is None else (result.accuracy, result.test_examples, result.validation_accuracy)
    return row | dict(zip(('test_accuracy', 'test_examples', 'validation_accuracy'), told, strict=True))


def _statistics_note(arms: pd.DataFrame, comparison: statistics.Comparison) -> str:
    tested = len(comparison.differences)
    note = 'Mean over seeds ± half the width of its 95% confidence interval (Student t'
    without = '; none for one seed, for seeds with the same accuracy, or for an arm with an unfinished run'
    note += f'{without if arms["low"].isna().any() else ""}). '
    if len(arms) == 1:
        return note.rstrip()
    if comparison.best is None:
        return (
            f'{note}No arm is marked as best: marks need at least two arms with two seeds in common, every run '
            'finished, and a single test set.'
        )
    if tested:
        corrected = f', Holm-corrected over {tested} arms' if tested > 1 else ''
        note += f'Each arm is compared with the best arm in a two-sided t-test paired by seed{corrected}, '
        note += f'at the level {statistics.SIGNIFICANCE}. Against best: {MEAN_DIFFERENCE}. '
        note += PICKED if tested > 1 else ''
    if tested < len(arms) - 1:
        note += 'Arms with one seed, with an unfinished run, or with fewer than two seeds in common with the best arm '
        note += 'are not tested.'
    return note.rstrip()


def _pairs_notes(arms: Sequence[runs.Arm], of_pairs: pd.DataFrame) -> list[str]:
    """How the pairs that the sweep asks for were tested."""
    tested = pairs.tested(arms, of_pairs['p_value'])
    once = ' (a pair that both arms name counts once)' if pairs.asked_by_both(arms) else ''
    return pairs_notes(of_pairs, f'{tested} pairs{once}' if tested > 1 else '')


def _sampling_note(arms: pd.DataFrame, comparison: statistics.Comparison, images: int) -> str:
    """What the intervals leave out, at the accuracy of the best arm, or of the first."""
    accuracies = arms['test_accuracy']
    accuracy = accuracies.dropna().iloc[0] if comparison.best is None else accuracies[comparison.best]
    half = 100 * statistics.sampling_half_width(accuracy, images)
    note = (
        ' Intervals are over seeds, on one split and one test set. They do not include the uncertainty from sampling '
        f'the {images:,} test images (± {half:.2g} points at {100 * accuracy:.4g}%).'
    )
    return f'{note} Since they are symmetric, they may reach beyond 100%.' if (arms['high'] > 1).any() else note


def _warnings(arms: Sequence[runs.Arm], sets: Sequence[Sequence[pairs.TestSet]]) -> list[str]:
    of_arms = [warning for arm in arms for warning in [*cautions.of_arm(arm), *_without_result(arm)]]
    return [*of_arms, *cautions.of_sweep(arms, sets, so=', so none is marked as best')]


def _without_result(arm: runs.Arm) -> list[str]:
    return [
        f'{run.name} ({arm.label}{run.of_seed}) {run.status} {run.detail.rstrip(".")}'.rstrip()
        for run in arm.runs
        if run.status in ('diverged', 'failed')
    ]


def _only(values: Iterable[Any]) -> Any:
    """The value that all share; None where they differ, which a warning then names."""
    found = distinct(values)
    return found[0] if len(found) == 1 else None


def _mean(values: Iterable[float | None]) -> float:
    """Of those that are known; NaN where none is."""
    return statistics.mean_and_interval([value for value in values if value is not None]).mean
