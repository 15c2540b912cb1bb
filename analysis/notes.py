"""What stands under tables and figures: seeds, budget, what was matched, what speeds are of, what runs came from."""

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.reading import records, runs
from analysis.reading.tuning import Tuning, names
from analysis.wording import distinct, listed, short_commit, span

_SELECTED = {  # by rule; `last` asks validation nothing, which it was held to all the same
    'best': 'The weights tested are those of the step with the best accuracy',
    'last': 'The weights tested are those of the last step, also measured',
    'unknown': 'By which rule the weights tested were selected is not known; they were measured',
}


SPREAD = (
    "Where a pair's differences have a standard deviation over seeds of less than one test image, one test image is "
    'taken in its place.'
)
MEAN_DIFFERENCE = 'the mean difference over seeds, with the 95% confidence interval of that pair alone (not corrected)'


def budget_notes(finished: list[records.Run]) -> list[str]:
    """How long finished runs trained, and on what they were selected and tested."""
    results = [run.result for run in finished]
    batch_sizes = span(records.config_count(run, 'train.batch_size') for run in finished)
    passes = span((r.images_seen / r.train_examples if r.train_examples else None for r in results), '.4g')
    budget = f'{span(r.steps for r in results)} steps of {batch_sizes} images'
    budget += f', {span(r.images_seen for r in results)} images seen'
    budget += f' ({passes} passes over {span(r.train_examples for r in results)} training images)'
    differs = len(distinct((r.steps, r.images_seen) for r in results)) > 1
    tested = span(r.test_examples for r in results)
    splits = listed(distinct(selected_on(r) for r in results), '; ')
    rules = listed(distinct(r.selection_rule or 'unknown' for r in results))
    # Of few images more than the share that was asked for: each class has one.
    validated = span((r.validation_examples for r in results), ',d')
    splits += f' ({validated} images)' if all(r.validation_examples for r in results) else ''
    windows = any(records.config_count(run, 'model.window') for run in finished)
    masked = '; for attention in windows they include pairs of tokens that are computed and then masked'
    return [
        f'{"Arms differ in budget" if differs else "Budget of every run"}: {budget}.',
        f'{_SELECTED.get(rules, f"The weights tested were selected by more than one rule ({rules})")} on {splits}. '
        f'Each run was evaluated on the test set ({tested} images) once, at its end. '
        f'Forward FLOPs are per image{masked if windows else ""}.',
    ]


def selected_on(result: records.Result) -> str:
    """The split that a result's params were selected on, as the end of a sentence."""
    split, _, how = (result.selection_split or 'unknown').partition(': ')
    return f'{split}, which is {how}' if how else split


def speed_notes(finished: list[records.Run]) -> list[str]:
    """What the speeds are of; and whether the host kept the devices waiting, and programs had to be compiled."""
    results = [run.result for run in finished]
    notes = []
    if any(result.flops_per_second is not None for result in results):
        peak = "; MFU is their share of the devices' peak for dense products"
        has_peak = any(result.mfu is not None for result in results)
        notes.append(
            'Speeds exclude compilation. FLOP/s count the matrix products and convolutions of a step, forward and '
            f'backward{peak if has_peak else ""}.'
        )
    gaps = [100 * result.host_gap_share for result in results if result.host_gap_share is not None]
    if gaps:
        notes.append(f'The device waited for the host for at most {max(gaps):.2g}% of the training time.')
    sizes = [result.population for result in results]
    if max(sizes) > 1:
        notes.append(
            f'Runs trained together as one program, in populations of {span(sizes, "d")} runs: images/s and FLOP/s '
            'are those of a whole population.'
        )
    if min(sizes) < max(sizes):
        notes.append('Arms whose populations differ in size may differ in speed for that reason alone.')
    processes = [result.processes for result in results]
    if max(processes) > 1:
        notes.append(
            f'{span(processes, "d")} processes trained on the machine at the same time; '
            'speeds are those of one process.'
        )
    fallbacks = distinct(result.kernel_fallback for result in results if result.kernel_fallback)
    if fallbacks:
        notes.append(f"Attention used XLA's kernel instead of the one requested: {listed(fallbacks)}.")
    found = [result.cache for result in results if result.cache is not None]
    if found:
        hits, misses = (span((counts[index] for counts in found), 'd') for index in (0, 1))
        notes.append(f'Of the programs of each run, {hits} came from the compilation cache and {misses} were compiled.')
    return [' '.join(notes)] if notes else []


def pairs_notes(of_pairs: pd.DataFrame, family: str) -> list[str]:
    """How the pairs that a sweep names were tested.

    Args:
      of_pairs: as `pairs.compare` makes it.
      family: over which tests p-values are corrected; '' where there is but one.
    """
    if of_pairs.empty:
        return []
    untested = of_pairs['p_value'].isna()
    note = f'Pairs are those that the sweep names. Difference: {MEAN_DIFFERENCE}'
    if not untested.all():
        note += f'; p is from a two-sided t-test paired by seed{f", Holm-corrected over {family}" if family else ""}'
    if untested.any():
        note += (
            '. Pairs with an unfinished run, with different test images, or with fewer than two seeds in common are '
            'not tested'
        )
    return [f'{note}.']


def tuning_notes(arms: Sequence[runs.Arm]) -> list[str]:
    """What was tried for arms that are tuned, how validation liked it, and what it chose."""
    tuned = [arm for arm in arms if arm.tuning]
    if not tuned:
        return []
    fields = distinct(name for arm in tuned for name in arm.tuning.fields)
    called = names(fields)
    each = '; '.join(f'{arm.label}: {_tried(arm.tuning, called)}' for arm in tuned)
    return [
        f'For each tuned arm, {" and ".join(fields)} {"is the value" if len(fields) == 1 else "are the values"} with '
        'the highest mean accuracy on validation among those tried and, where several tie, the lowest loss. In '
        f'brackets: that accuracy, or why there is none. {each}.'
    ]


def _tried(tuning: Tuning, called: Mapping[str, str]) -> str:
    shown = [f'{tuning.setting(one, called)} ({one.why or format(one.accuracy, ".2%")})' for one in tuning.tried]
    end = ', at an end of the range' if tuning.at_the_end else ''
    if end and len(called) > 1:
        end += f' of {" and ".join(called[field] for field in tuning.at_the_end)}'
    return f'{tuning.setting(tuning.tried[tuning.chosen], called)}{end}, out of {listed(shown)}'


def width_notes(arms: Sequence[runs.Arm]) -> list[str]:
    """Of arms whose width was solved: what it is, and how near that comes to the reference arm."""
    labels: dict[str, list[str]] = {}  # by width: arms that differ in positions or data often have the same
    for arm in arms:
        for width in distinct(map(_width, arm.finished)):
            labels.setdefault(width, []).append(arm.label)
    solved = [f'{", ".join(alike)}: {width}' for width, alike in labels.items() if width]
    if not solved:
        return []
    references = distinct(run.result.reference for arm in arms for run in arm.finished if run.result.reference)
    several = (
        f' There are {len(references)} reference arms, since a reference takes all but the mixer (depth, patch size, '
        '...) from the arm that is matched to it: arms with different references do not cost the same.'
    )
    return [
        f'Widths were computed to match a reference arm. {"; ".join(solved)}.{several if len(references) > 1 else ""}'
    ]


def _width(run: records.Run) -> str:
    """The width of a matched arm and what it costs beside the reference; '' where none was solved."""
    result = run.result
    if result.reference is None:
        return ''
    match, reference = result.reference
    count, unit = {'params': (result.params, 'params'), 'flops': (result.forward_flops, 'FLOPs')}[match]
    # A ratio as the config has it was not chosen.
    written = records.config_number(run, 'model.mlp_ratio')
    fields = {name: value for name, value in result.width.items() if (name, value) != ('mlp_ratio', written)}
    chosen = ', '.join(f'{name} {value:.4g}' for name, value in fields.items())
    return f'{chosen} (reference {reference:,} {unit}; {count / reference - 1:+.1%})'


def origin_notes(finished: list[records.Run]) -> list[str]:
    """What finished runs came from: their seeds, then device, versions and commit."""
    results = [run.result for run in finished]
    commits = listed(distinct(short_commit(result.commit, result.dirty) for result in results))
    return [
        f'Seeds: {listed(sorted(distinct(run.seed for run in finished)))}.',
        f'Device: {listed(distinct(result.device or "unknown" for result in results))}. '
        f'Versions: {listed(distinct(result.versions or "unknown" for result in results), "; ")}. Commit: {commits}.',
    ]
