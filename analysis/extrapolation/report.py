"""What `analysis.extrapolation.measure` found, as tables and notes, and all of it into the folder."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis import cautions, output, pairs
from analysis.captions import budget_caption
from analysis.drawing.style import write_figure
from analysis.extrapolation import written
from analysis.extrapolation.figure import extrapolation_figure
from analysis.extrapolation.measure import measure
from analysis.extrapolation.options import POLICIES, parse_policies, parse_resolutions
from analysis.extrapolation.scores import Extrapolation, image_sets
from analysis.notes import (
    SPREAD,
    origin_notes,
    pairs_notes,
    selected_on,
    tuning_notes,
    width_notes,
)
from analysis.reading import records
from analysis.reading.runs import runs_counted
from analysis.terminal import alignment
from analysis.wording import capped, distinct, p_value, percent, short_commit
from experiment import environment
from models.positions import POSITIONS


def report(workdir: str | Path, resolutions: Sequence[str], policies: Sequence[str] | None, split: str) -> None:
    """Evaluates a run, or every run of a sweep, at other resolutions; prints the table, writes it and its figure.

    Args:
      resolutions: sides of square images in pixels, as typed.
      policies: some of POLICIES as typed, or None for all.
    Raises:
      ConfigError: a flag cannot work for these runs, none of them can be evaluated, or the folder cannot be written.
    """
    workdir = Path(workdir)
    found = measure(workdir, parse_resolutions(resolutions), parse_policies(policies), split)
    print(output.printable(to_text(found), sys.stdout.encoding))
    for name, content in (
        ('extrapolation.md', to_markdown(found)),
        ('extrapolation.csv', output.to_csv(found.summary)),
        (written.RUNS, output.to_csv(written.rows(found))),
    ):
        print(output.write(workdir / name, content))
    for path in output.write_table(workdir / 'extrapolation_pairs.csv', found.pairs):
        print(path)
    for path in write_figure(extrapolation_figure(found.arms, found.scores), workdir / 'extrapolation'):
        print(path)


def to_text(found: Extrapolation) -> str:
    """The tables, one a policy, and their notes, for a terminal."""
    blocks = [f'{title}\n\n{_rendered(cells, "simple")}' for title, cells in _blocks(found)]
    return '\n\n'.join([*blocks, '\n'.join(notes(found))])


def to_markdown(found: Extrapolation) -> str:
    """The same as GitHub-flavoured Markdown; labels are text there."""
    escape = output.escape_markdown
    blocks = []
    for title, cells in _blocks(found):
        cells = cells.map(escape).rename(columns=lambda name: name.replace('\n', '<br>'))
        blocks.append(f'{title}\n\n{_rendered(cells, "pipe")}')
    return '\n\n'.join([*blocks, ''.join(f'- {escape(note)}\n' for note in notes(found))])


def notes(found: Extrapolation) -> list[str]:
    """What a reader must know of the numbers, and of the runs behind them."""
    ready = [one for of_arm in found.evaluated for one in of_arm]
    results = [one.run.result for one in ready]
    data = distinct(f'{one.spec.name} ({one.side} x {one.side} pixels)' for one in ready)
    examples = distinct(f'{count:,}' for count in found.scores['examples'])
    lines = [
        f'{", ".join(data)}, {_split(found)} split: {" or ".join(examples)} images, each counted once. Images are '
        'resized bilinearly (antialiased where they shrink); at their own size they are left unchanged. Patches keep '
        'their size in pixels, so a patch of a larger image shows less of it.',
        'Mean over seeds ± half the width of its 95% confidence interval (Student t); none for one seed, or for seeds '
        'with the same accuracy.',
    ]
    lines += _pairs_notes(found)
    positions = dict.fromkeys(one.config.model.positions.name for one in ready if one.has_tokens)
    learned = [name for name in positions if POSITIONS[name].learned_places]
    if learned:
        lines.append(
            f'Learned tables of positions ({", ".join(learned)}) are interpolated between the trained places; beyond '
            'these, the entry at the edge is repeated.'
        )
    if not all(one.has_tokens for one in ready):
        lines.append('A ResNet has no tokens and no coordinates; it sees the same images.')
    rules = distinct(f'{selected_on(result)} (rule: {result.selection_rule})' for result in results)
    lines.append(
        f'The weights are those selected in training, on {"; ".join(rules)}; nothing was selected by the results here.'
    )
    lines += [budget_caption(found.arms), *tuning_notes(found.arms), *width_notes(found.arms)]
    lines += [f'Training. {note}' for note in origin_notes([one.run for one in ready])]
    lines.append(f'This evaluation. {_made_by()}')
    # A line for each run may follow, of which not all are shown.
    warnings = [*_cautions(found), *found.warnings]
    return lines + [f'Warning: {warning}.' for warning in capped(warnings)]


def _pairs_notes(found: Extrapolation) -> list[str]:
    once = 'that no choice of coordinates changes'
    once += ', or that both arms name,' if pairs.asked_by_both(found.arms) else ''
    spread = f' {SPREAD}' if found.pairs['p_value'].notna().any() else ''
    family = f'the pairs of each image size (a pair {once} counts once)'
    return [f'{note}{spread}' for note in pairs_notes(found.pairs, family)]


def _cautions(found: Extrapolation) -> list[str]:
    of_arms = [caution for arm in found.arms for caution in cautions.of_arm(arm)]
    return [*of_arms, *cautions.of_sweep(found.arms, image_sets(found.arms, found.scores, _split(found)))]


def _made_by() -> str:
    git, device = environment.git(), records.describe_device({'device': environment.device()})
    versions = ', '.join(f'{name} {version}' for name, version in environment.versions().items())
    commit = short_commit(git['commit'], git['dirty'])
    return f'Device: {device}. Versions: {versions}. Commit: {commit}.'


def _blocks(found: Extrapolation) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each policy, a title and the cells of its table; and of its pairs, where the sweep asks to compare any."""
    for policy, of_policy in found.summary.groupby('policy', sort=False):
        sides = of_policy['resolution'].unique().tolist()
        headings = {side: _heading(found, side) for side in sides}
        rows = []
        # By place, since labels need not be unique: an arm's rows follow one another.
        for number, arm in enumerate(found.arms):
            of_arm = of_policy.iloc[number * len(sides) : (number + 1) * len(sides)]
            counted = runs_counted(len(arm.finished), len(arm.runs), arm.unfinished)
            cells = {headings[row.resolution]: percent(row.accuracy, row.low, row.high) for row in of_arm.itertuples()}
            rows.append({'Arm': arm.label, **cells, 'n': counted})
        yield (
            f"{_split(found).capitalize()} accuracy, %. Coordinates '{policy}': {POLICIES[policy]}.",
            pd.DataFrame(rows),
        )
        of_pairs = found.pairs[found.pairs['policy'] == policy]
        if len(of_pairs):
            yield f"Pairs, difference in points. Coordinates '{policy}'.", _pair_cells(of_pairs, headings)


def _pair_cells(of_pairs: pd.DataFrame, headings: dict[int, str]) -> pd.DataFrame:
    rows = []
    for (arm, against), of_pair in of_pairs.groupby(['arm', 'against'], sort=False):
        cells = {
            headings[row.resolution]: f'{percent(row.difference, row.low, row.high, "+.2f")} '
            f'({"not tested" if pd.isna(row.p_value) else p_value(row.p_value, named=True)})'
            for row in of_pair.itertuples()
        }
        rows.append({'Arm': arm, 'Against': against, **cells})
    return pd.DataFrame(rows)


def _heading(found: Extrapolation, side: int) -> str:
    ready = [one for of_arm in found.evaluated for one in of_arm]
    lines = [f'{side} px']
    tokens = {one.patches(side) for one in ready if one.has_tokens}
    if len(tokens) == 1:
        lines.append(f'{tokens.pop():,} tokens')
    if {one.side for one in ready} == {side}:
        lines.append('(trained)')
    return '\n'.join(lines)


def _rendered(cells: pd.DataFrame, form: str) -> str:
    return cells.to_markdown(index=False, tablefmt=form, disable_numparse=True, colalign=alignment(cells))


def _split(found: Extrapolation) -> str:
    return found.scores['split'].iloc[0]
