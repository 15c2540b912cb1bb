"""The sections of pictures that a report has, and what each says."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import data
from analysis.extrapolation.options import POLICIES
from analysis.heads import report as heads_report
from analysis.heads.measure import Measured
from analysis.heads.trained import Load, lacks_attention
from analysis.page import attention_map, charts, explorer, heat_map, positions
from analysis.page.arms import Row
from analysis.page.pictures import Picture
from analysis.reading import records, runs
from analysis.wording import why


class Section(NamedTuple):
    """Some pictures under one heading."""

    id: str  # of its element in the page
    title: str
    texts: list[str]
    pictures: list[Picture]


def sections(
    workdir: Path, sweep: runs.Sweep, rows: Sequence[Row], measured: Measured | None, no_heads: str, load: Load
) -> list[Section]:
    """The sections of pictures, in order; `no_heads` says why nothing was `measured`."""

    def drawn(*found: Picture | None) -> list[Picture]:
        return [picture for picture in found if picture is not None]

    grid, costs, curves = heat_map.heat_map(rows), charts.trade_offs(rows), charts.learning_curves(workdir, rows)
    scaling, beyond = charts.scaling_curves(sweep), charts.extrapolation_curves(workdir, sweep)
    flags = f'--workdir={shlex.quote(str(workdir))} --resolutions=...'
    asked = f'For accuracy beyond the trained length, run python eval.py {flags}, then make this report again.'
    return [
        Section('heat-map', 'Positions and heads', [HEAT_MAP if grid else NO_HEAT_MAP], drawn(grid)),
        Section(
            'trade-offs',
            'What accuracy costs',
            [] if costs else ['There are no two arms to compare.'],
            drawn(costs),
        ),
        Section('learning', 'How they learned', [] if curves else ['No run left a log.'], drawn(curves)),
        Section(
            'scaling',
            'How it scales',
            [*([] if scaling else [NO_SCALING]), BEYOND if beyond else asked],
            drawn(scaling, beyond),
        ),
        Section('heads', 'Heads', *_head_pictures(measured, no_heads)),
        Section('attention-map', 'An attention map', *_attention_map(workdir, rows, load)),
        Section('positions', 'Positions, before and after training', *_position_pictures(workdir, rows, load)),
    ]


HEAT_MAP = (
    'Each cell is an arm: its mean test accuracy ± half the width of the 95% confidence interval. It links to the runs '
    'behind it.'
)
NO_HEAT_MAP = 'No two attention arms differ only in positions and heads, so there is no map of them.'
BEYOND = f'Coordinates beyond the trained length: {"; ".join(f"{name!r}: {what}" for name, what in POLICIES.items())}.'
NO_SCALING = 'The arms do not differ in the amount of data, and the sweep does not ask for a figure of its own.'


def _head_pictures(measured: Measured | None, no_heads: str) -> tuple[list[str], list[Picture]]:
    if measured is None:
        return [f'Nothing is known about the heads: {no_heads}.'], []
    about = 'Accuracy as heads are removed, from the least to the most important'
    pruning = Picture(
        'pruning',
        'Removing heads',
        f'{about}; python -m analysis.heads has the numbers.',
        heads_report.pruning_figure(measured),
    )
    far = 'How far and how widely heads look'
    distance = Picture(
        'heads',
        far,
        f'{far}, by layer; python -m analysis.heads has the numbers.',
        heads_report.distance_figure(measured),
    )
    return list(measured.notes), [distance, pruning]


def _attention_map(workdir: Path, rows: Sequence[Row], load: Load) -> tuple[list[str], list[Picture]]:
    """Of the most accurate arm of several heads, else of any with attention; its first seed."""

    def merit(row: Row) -> tuple[bool, float]:
        several = (records.config_count(row.arm.finished[0], 'model.num_heads') or 0) > 1
        return several, sum(row.arm.accuracies) / len(row.arm.accuracies)

    able = [row for row in rows if _with_attention(row)]
    for row in sorted(able, key=merit, reverse=True):
        run = row.arm.finished[0]
        try:
            trained = load(runs.folder_of(workdir, run))
            test = explorer.typical(data.load_once(trained.config.data).test, 4)
            title = row.label + run.of_seed
            return [f'{title}. The explorer shows the others.'], [
                attention_map.attention_map(trained, test.images[-1], title)
            ]
        except Exception:  # its checkpoint is damaged: the explorer says so of each run
            continue
    return ['No run has attention weights to show.'], []


def _position_pictures(workdir: Path, rows: Sequence[Row], load: Load) -> tuple[list[str], list[Picture]]:
    """Of the first finished run of each arm."""
    texts, found, fixed = [], [], set()
    for row in (row for row in rows if _with_attention(row)):
        run = row.arm.finished[0]
        title = f'{row.number}. {row.label}'
        try:
            trained = load(runs.folder_of(workdir, run))
            same = positions.fixed_as(trained)
            if same is not None and same in fixed:
                texts.append(f'{title}: the same as for an arm above.')
                continue
            fixed.add(same)
            drawn, note = positions.position_pictures(trained, f'positions_{row.number}', title)
        except Exception as error:  # as in the explorer
            texts.append(f'{title}: {why(error)}')
            continue
        found += drawn
        if not drawn:
            texts.append(f'{title}: {note}')
        elif note not in texts:
            texts.append(note)
    return texts or ['No arm has attention.'], found


def _with_attention(row: Row) -> bool:
    return bool(row.arm.finished) and not lacks_attention(row.arm.finished[0].config)
