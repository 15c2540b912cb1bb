"""Accuracy beyond the trained length as a figure: eval.py writes it, and the page shows the same."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.captions import budget_caption, missing_captions, seeds_caption
from analysis.drawing.lines import Curve, Panel, Point, line_figure
from analysis.extrapolation.scores import of_arm
from analysis.reading import runs


def extrapolation_figure(arms: Sequence[runs.Arm], scores: pd.DataFrame) -> Figure:
    """Accuracy over tokens: a panel per policy, a line per arm, hollow where runs of it are missing.

    Args:
      arms: of `scores`, where runs that could not be evaluated are not finished.
      scores: a row per finished run, policy and resolution, as in `Extrapolation`.
    """
    split = scores['split'].iloc[0]
    panels = []
    for policy, of_policy in scores.groupby('policy', sort=False):
        curves = tuple(Curve(arm.label, _points(arm, of_arm(of_policy, arm))) for arm in arms)
        panels.append(Panel(f'{split} accuracy, %', curves, f"coordinates '{policy}'", (0.0, 100.0)))
    caption = [seeds_caption(arms), budget_caption(arms), *missing_captions(arms)]
    if scores['tokens'].isna().any():
        caption.append('A ResNet has no tokens; it is drawn where models with tokens see images of the same size.')
    return line_figure(
        panels,
        x_label='tokens of an image',
        scale='log',
        caption=' '.join(caption),
        ticks=_ticks(scores),
        verticals={'trained length': sorted(scores['trained_patches'].unique().tolist())},
        share_y=True,
    )


def _points(arm: runs.Arm, scores: pd.DataFrame) -> tuple[Point, ...]:
    return tuple(
        Point(int(here['patches'].iloc[0]), tuple(100 * here['accuracy']), arm.complete)
        for _, here in scores.groupby('resolution')
    )


def _ticks(scores: pd.DataFrame) -> dict[int | float, str] | None:
    """Patches with the side that makes as many; None where arms cut images of one side into different numbers."""
    places = scores[['resolution', 'patches']].drop_duplicates()
    if places['resolution'].duplicated().any():
        return None
    sides, patches = (places[name].tolist() for name in ('resolution', 'patches'))
    return {count: f'{count:,}\n{side} px' for side, count in zip(sides, patches, strict=True)}
