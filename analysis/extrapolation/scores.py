"""What runs score at other resolutions, and what follows from it: means, tested pairs, and warnings."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from ml_collections import ConfigDict

from analysis import pairs, statistics
from analysis.reading import records, runs
from analysis.wording import distinct
from data.spec import Spec
from models.patches import patch_grid

PAIR = ('policy', 'arm', 'against', 'resolution', 'difference', 'low', 'high', 'n', 'p_value')  # columns of pairs


class Ready(NamedTuple):
    """A finished run whose config this code can build."""

    run: records.Run
    folder: Path
    config: ConfigDict
    spec: Spec

    @property
    def side(self) -> int:
        """Pixels of the images that it was trained on."""
        return self.spec.image_shape[0]

    @property
    def has_tokens(self) -> bool:
        return self.config.model.name == 'backbone'

    def patches(self, side: int) -> int:
        """In an image of `side` x `side` pixels; tokens, where the model has any."""
        return math.prod(patch_grid((side, side), self.config.model.patch_size))


class Extrapolation(NamedTuple):
    """What was measured. Accuracies are fractions in [0, 1]."""

    arms: tuple[runs.Arm, ...]  # runs that could not be evaluated count as damaged
    evaluated: tuple[tuple[Ready, ...], ...]  # the runs of each arm that were
    scores: pd.DataFrame  # a row per run, policy and resolution; patches are those of an image, tokens or not
    summary: pd.DataFrame  # a row per policy, arm and resolution: mean and interval over seeds
    pairs: pd.DataFrame  # a row per policy, pair that the sweep asks to compare, and resolution
    warnings: tuple[str, ...]


def of_arm(scores: pd.DataFrame, arm: runs.Arm) -> pd.DataFrame:
    """The rows of an arm's runs; its label need not be its own."""
    return scores[scores['run'].isin([run.name for run in arm.runs])]


def image_sets(arms: Sequence[runs.Arm], scores: pd.DataFrame, split: str) -> list[list[pairs.TestSet]]:
    """What the runs of each arm were evaluated on, each once."""
    return [
        [
            (name, examples, images)
            for name, _, images in of_one
            for examples in distinct(of_arm(scores, arm)['examples'])
        ]
        for arm, of_one in zip(arms, pairs.test_sets(arms, split), strict=True)
    ]


def summary(arms: Sequence[runs.Arm], scores: pd.DataFrame) -> pd.DataFrame:
    """The mean over seeds and its interval, a row per policy, arm and resolution."""
    rows = []
    for policy, of_policy in scores.groupby('policy', sort=False):
        for arm in arms:
            for side in sorted(scores['resolution'].unique()):
                here = of_arm(of_policy[of_policy['resolution'] == side], arm)
                interval = statistics.mean_and_interval(here['accuracy'].to_list(), arm.complete)
                row = {'policy': policy, 'arm': arm.label, 'resolution': side}
                row |= {'tokens': here['tokens'].iloc[0] if len(here) else pd.NA, 'split': scores['split'].iloc[0]}
                row |= {'accuracy': interval.mean, 'low': interval.low, 'high': interval.high, 'n': interval.count}
                rows.append(row | {'runs': len(arm.runs)} | arm.unfinished)
    return pd.DataFrame(rows).astype({'tokens': 'Int64'})


def pair_differences(arms: Sequence[runs.Arm], scores: pd.DataFrame, split: str) -> pd.DataFrame:
    """The differences of pairs, tested as in the table of a sweep; a resolution is a family of tests."""
    rows = []
    sets = image_sets(arms, scores, split)
    for side, here in scores.groupby('resolution', sort=False):
        by_policy = {
            policy: [dict(of_arm(of_policy, arm)[['seed', 'accuracy']].values.tolist()) for arm in arms]
            for policy, of_policy in here.groupby('policy', sort=False)
        }
        rows.append(pairs.compare(arms, sets, by_policy).assign(resolution=side))
    return pd.concat(rows).rename(columns={'condition': 'policy'})[[*PAIR]]


def warnings_of(arms: Sequence[runs.Arm], evaluated: Sequence[Sequence[Ready]], scores: pd.DataFrame) -> list[str]:
    """The runs that are in no mean, and those whose accuracy is not what training reported."""
    warnings = []
    for arm, ready in zip(arms, evaluated, strict=True):
        for run in arm.runs:
            if run.status != records.FINISHED:
                why = f' ({run.detail})' if run.detail else ''
                warnings.append(f'{run.name} ({arm.label}{run.of_seed}) is {run.status}{why} and in none of the means')
        for one in ready:
            here = scores[(scores['run'] == one.run.name) & (scores['resolution'] == one.side)]
            for score in here[here['split'] == 'test'].head(1)['accuracy']:
                if score != one.run.result.accuracy:
                    warnings.append(
                        f'{one.run.name} ({arm.label}) has {score:.4%} on the test set at the trained resolution, but '
                        f'{one.run.result.accuracy:.4%} in its result.json (another device or version?)'
                    )
    return warnings
