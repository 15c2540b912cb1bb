"""What stands under every figure: where its points come from, and which are missing."""

from collections.abc import Sequence

from analysis.reading import records, runs
from analysis.wording import listed, listed_labels, shortened, span


def seeds_caption(arms: Sequence[runs.Arm]) -> str:
    """How points came from seeds."""
    counts = [len(arm.finished) for arm in arms if arm.finished]
    if not counts or max(counts) == 1:
        return 'One seed per point, so there are no intervals.'
    return f'Mean over {span(counts)} seeds, with its 95% confidence interval (Student t).'


def budget_caption(arms: Sequence[runs.Arm]) -> str:
    """What the finished runs of `arms` were trained on, how long, and how they were tested."""
    finished = [run for arm in arms for run in arm.finished]
    if not finished:
        return ''
    results = [run.result for run in finished]
    names = listed_labels(dict.fromkeys(records.config_text(run, 'data.name') or 'unknown data' for run in finished))
    return (
        f'Budget: {span(result.steps for result in results)} steps of '
        f'{span(records.config_count(run, "train.batch_size") for run in finished)} images '
        f'({span(result.images_seen for result in results)} images seen; '
        f'{span(result.train_examples for result in results)} training images) on {names}; '
        f'{span(result.test_examples for result in results)} test images.'
    )


def missing_captions(arms: Sequence[runs.Arm]) -> list[str]:
    """The arms whose points are hollow, or not there, and why."""

    def why(arm: runs.Arm) -> str:
        reasons = ', '.join(f'{count} {status}' for status, count in arm.unfinished.items() if count)
        return f'{shortened(arm.label)} ({reasons} out of {len(arm.runs)})'

    hollow = [why(arm) for arm in arms if arm.finished and not arm.complete]
    absent = [why(arm) for arm in arms if not arm.finished]
    notes = [f'Hollow points are means over finished runs only: {listed(hollow, most=5)}.'] if hollow else []
    return notes + ([f'Not drawn, because no run finished: {listed(absent, most=5)}.'] if absent else [])
