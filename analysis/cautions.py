"""What forbids to compare arms, or could explain what they differ by: the warnings under tables."""

import json
from collections.abc import Sequence

from analysis.pairs import TestSet
from analysis.reading import runs
from analysis.wording import distinct, listed, short_commit

TRAINED_ON = ('train', 'validation')  # splits that no run of one config.data has otherwise than another
CONSTANT = ('params', 'forward_flops', 'steps', 'images_seen')  # what the runs of an arm should share


def of_arm(arm: runs.Arm) -> list[str]:
    """What an arm's own runs lack, or do not share."""
    found = []
    if arm.finished and not arm.complete:
        left = f'{len(arm.finished)} of {len(arm.runs)} runs'
        found.append(f'the mean of {arm.label} is over the {left} that finished; the arm is not compared with others')
    differs = [name for name in CONSTANT if len(distinct(getattr(run.result, name) for run in arm.finished)) > 1]
    if differs:
        found.append(f'runs of {arm.label} differ in {", ".join(differs)}')
    return found + [
        f'{run.name} ({arm.label}{run.of_seed}) was begun by other code, on other images, with other versions, on '
        'another device or divided otherwise'
        for run in arm.finished
        if run.result.mixed
    ]


def of_sweep(arms: Sequence[runs.Arm], sets: Sequence[Sequence[TestSet]], so: str = '') -> list[str]:
    """What the arms of a table do not share.

    Args:
      sets: what each arm was tested on.
      so: what the table leaves out where these differ.
    """
    found = []
    labels = {arm.label for arm in arms}
    absent = distinct(label for arm in arms for label in arm.against if label not in labels)
    if absent:
        found.append(f'arms are to be compared with {listed(absent, most=5)}, for which there is no row')
    if len(distinct(one for of_one in sets for one in of_one)) > 1:
        found.append(f'the arms were tested on different data{so}')
    changed = _of_other_images(arms)
    if changed:
        found.append(f'{changed}, though their config.data is the same')
    if len({len(arm.tuning.tried) if arm.tuning else 1 for arm in arms}) > 1:
        found.append('more settings were tried for some arms than for others')
    if len({frozenset(run.seed for run in arm.finished) for arm in arms if arm.complete}) > 1:
        found.append('the arms have different seeds; two arms are compared over the seeds that they share')
    results = [run.result for arm in arms for run in arm.finished]
    for what, values in (
        ('by different code', (result.code or short_commit(result.commit, result.dirty) for result in results)),
        ('with different versions', (result.versions for result in results)),
        ('on different devices', (result.device for result in results)),
        (
            'with different selection splits or rules',
            ((result.selection_split, result.selection_rule) for result in results),
        ),
    ):
        if len(distinct(values)) > 1:
            found.append(f'the runs were made {what}')
    return found


def _of_other_images(arms: Sequence[runs.Arm]) -> str:
    """The arms some of whose runs trained, or were validated, on other images than another with the same config.data.

    A dataset that was prepared anew has other images under the same name, and runs that are finished are kept.
    """
    images: dict[str, set[tuple[str, ...]]] = {}
    labels: dict[str, list[str]] = {}
    for label, run in ((arm.label, run) for arm in arms for run in arm.finished):
        told = tuple(run.result.fingerprints.get(split, '') for split in TRAINED_ON)
        if all(told):
            same = json.dumps(run.config.get('data'), sort_keys=True)
            images.setdefault(same, set()).add(told)
            labels.setdefault(same, []).append(label)
    differ = distinct(label for same, several in images.items() if len(several) > 1 for label in labels[same])
    return f'runs of {listed(differ, most=5)} were trained or validated on different images' if differ else ''
