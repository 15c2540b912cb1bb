"""The table of a sweep: one row per arm, its best arms marked, and under it what a reviewer asks for.

On stdout, and as Markdown, LaTeX (booktabs) and CSV in the sweep's folder, with the numbers of each run beside it.
"""

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from analysis import output, records, runs, statistics
from analysis.notes import budget_notes, commit_of, distinct, origin_notes, speed_notes, tuning_notes, width_notes
from analysis.output import escape_markdown

SIGNIFICANCE = 0.05
NO_INTERVAL = statistics.mean_and_interval([])
MOST_WARNINGS = 20
SPEEDS = ('images_per_second', 'flops_per_second', 'mfu', 'host_gap_share')
CONSTANT = ('params', 'forward_flops', 'steps', 'images_seen')  # what the runs of an arm should share

ACCURACY, AGAINST = 'Test accuracy, %', 'Against best, points'
MARKS = {'best': '{} *', 'indistinguishable': '{} †', '': '{}'}
MARKDOWN_MARKS = MARKS | {'best': '**{}**'}
LATEX_SYMBOLS = str.maketrans({'±': r'$\pm$', '†': r'$^\dagger$', '…': r'\ldots{}'})


class Table(NamedTuple):
    """A sweep's table: `arms` holds raw numbers, one row per arm in the author's order; `notes` go under it.

    Accuracies in `arms` are fractions in [0, 1], as are mfu and host_gap_share; forward_flops is per image,
    train_step_flops of a batch; difference is to the best arm, paired by seed; p_value is Holm-corrected, against the
    best arm; mark is 'best', 'indistinguishable' or ''. Speeds are means over runs, and those of devices are missing
    where results tell none.

    `runs` has a row for each run of each arm, from which all of that can be computed again.
    """

    arms: pd.DataFrame
    runs: pd.DataFrame
    notes: tuple[str, ...]


def make_table(sweep: runs.Sweep) -> Table:
    """The table of what `runs.read` found."""
    finished = [run for arm in sweep.arms for run in arm.finished]
    datasets = distinct((records.config_text(run, 'data.name'), run.result.test_examples) for run in finished)
    comparison = _compare(sweep.arms, datasets)
    arms = pd.DataFrame([_row(arm, key, comparison) for key, arm in enumerate(sweep.arms)])
    arms = arms.astype(dict.fromkeys((*CONSTANT, 'train_step_flops'), 'Int64'))
    warnings = [*sweep.warnings, *_warnings(sweep, finished, datasets)]
    if len(warnings) > MOST_WARNINGS:
        warnings[MOST_WARNINGS:] = [f'{len(warnings) - MOST_WARNINGS} more like these']
    notes = [_statistics_note(arms, comparison)]
    if finished and len(datasets) == 1:
        notes[0] += _sampling_note(arms, comparison, datasets[0][1])
    if finished:
        notes += [*budget_notes(finished), *tuning_notes(sweep.arms), *width_notes(sweep.arms)]
        notes += [*speed_notes(finished), *origin_notes(finished)]
    of_runs = pd.DataFrame([_run_row(arm, run) for arm in sweep.arms for run in arm.runs]).astype({'seed': 'Int64'})
    return Table(arms, of_runs, (*notes, *(f'Warning: {warning}.' for warning in warnings)))


def report(workdir: str | Path, sweep: runs.Sweep) -> None:
    """Prints the table of the sweep in `workdir` and writes its files there. Raises ConfigError when it cannot.

    Prints first: a folder that can be read but not written still gives its table.
    """
    table = make_table(sweep)
    print_table(table)
    for path in write_tables(workdir, table):
        print(path)


def print_table(table: Table, stream: io.TextIOBase | None = None) -> None:
    """Prints the table and its notes: aligned, with the best arm in bold on a terminal, whole lines elsewhere."""
    console = Console(file=stream or sys.stdout, highlight=False)

    def as_text(text: str) -> Text:
        # As Text, a label is never read as rich's markup.
        return Text(output.printable(text, console.encoding))

    cells = _cells(table, MARKS)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in cells:
        # Labels and reasons wrap on a narrow terminal; numbers never do.
        wraps, justify = name in ('Arm', 'n'), 'left' if name == 'Arm' else 'right'
        heading = name if wraps else name.replace(' ', '\n', 1)
        grid.add_column(heading, justify=justify, no_wrap=not wraps, overflow='fold')
    for mark, row in zip(table.arms['mark'], cells.itertuples(index=False), strict=True):
        grid.add_row(*map(as_text, row), style='bold' if mark == 'best' else None)
    width = console.measure(grid, options=console.options.update(width=10_000)).maximum
    if not console.is_terminal:
        console.width = max(console.width, width)
    elif console.width < width:
        grid.padding = 0
    console.print(grid)
    for note in _notes(table, '*'):
        console.print(as_text(note), soft_wrap=not console.is_terminal)


def write_tables(workdir: str | Path, table: Table) -> list[Path]:
    """Writes the table to `workdir`, each file whole or not at all, and returns their paths.

    table.md, table.tex, table.csv, and table_runs.csv, with a row for each run.

    Raises ConfigError when the folder cannot be written.
    """
    contents = {'table.md': to_markdown(table), 'table.tex': to_latex(table)}
    contents |= {'table.csv': output.to_csv(table.arms), 'table_runs.csv': output.to_csv(table.runs)}
    return [output.write(Path(workdir) / name, content) for name, content in contents.items()]


def to_markdown(table: Table) -> str:
    """The table and its notes as GitHub-flavoured Markdown; labels are text there, never markup or HTML."""
    cells = _cells(table, MARKDOWN_MARKS, escape_markdown)
    # Without disable_numparse, tabulate would print a label such as 1e5 as a number.
    body = cells.to_markdown(index=False, disable_numparse=True, colalign=_alignment(cells, 'left', 'right'))
    notes = ''.join(f'- {escape_markdown(note)}\n' for note in _notes(table, 'Bold'))
    return f'{body}\n\n{notes}'


def to_latex(table: Table) -> str:
    """The table and its notes as a LaTeX fragment for booktabs, escaped by pandas."""
    cells = _cells(table, MARKS | {'best': '{}'})
    bold = ['textbf:--rwrap;' if mark == 'best' else '' for mark in table.arms['mark']]
    body = (
        cells.style.hide(axis='index')
        .format(_no_option, escape='latex')
        .format_index(escape='latex', axis='columns')
        .apply(lambda column: bold, subset=[ACCURACY])
        .to_latex(hrules=True, column_format=''.join(_alignment(cells, 'l', 'r')))
    )
    # The notes are a table too, so that pandas escapes them.
    notes = pd.DataFrame({'note': _notes(table, 'Bold')}).style.hide(axis='index').hide(axis='columns')
    notes = notes.format(_no_option, escape='latex').to_latex(column_format=r'p{0.95\linewidth}')
    fragment = f'\\centering\n{body}\n\\medskip\n\\footnotesize\n{notes}'.translate(LATEX_SYMBOLS)
    return f'% needs \\usepackage{{booktabs}}\n\\begin{{table}}\n{fragment}\\end{{table}}\n'


def _no_option(text: str) -> str:
    r"""A cell that the end of the row before it, `\\`, cannot take for its option, a length in brackets or a star."""
    return f'{{}}{text}' if text.startswith(('[', '*')) else text


def _compare(arms: Sequence[runs.Arm], datasets: list[tuple]) -> statistics.Comparison:
    """Compares arms, each named by its place: labels need not be unique. `datasets` are those they were tested on."""
    # Accuracies on different test sets have no best, and a lone arm is best of nothing: no marks then.
    has_best = len(datasets) == 1 and len(arms) > 1
    incomplete = [key for key, arm in enumerate(arms) if not has_best or not arm.complete]
    scores = {key: {run.seed: run.result.accuracy for run in arm.finished} for key, arm in enumerate(arms)}
    one_image = 1 / datasets[0][1] if has_best else 0.0
    return statistics.indistinguishable_from_best(scores, incomplete, SIGNIFICANCE, one_image)


def _row(arm: runs.Arm, key: int, comparison: statistics.Comparison) -> dict[str, Any]:
    finished = arm.finished
    results = [run.result for run in finished]
    interval = statistics.mean_and_interval([result.accuracy for result in results], arm.complete)
    difference = comparison.differences.get(key, NO_INTERVAL)
    mark = 'best' if key == comparison.best else 'indistinguishable' if key in comparison.indistinguishable else ''
    return {
        'arm': arm.label,
        'test_accuracy': interval.mean,
        'low': interval.low,
        'high': interval.high,
        'n': len(finished),
        'runs': len(arm.runs),
        **{status: arm.count(status) for status in records.UNFINISHED},
        'difference': difference.mean,
        'difference_low': difference.low,
        'difference_high': difference.high,
        'p_value': comparison.p_values.get(key),
        'mark': mark,
        'params': _only(result.params for result in results),
        'forward_flops': _only(result.forward_flops for result in results),
        **{name: _mean(getattr(result, name) for result in results) for name in SPEEDS},
        'train_step_flops': _only(result.train_step_flops for result in results),
        'steps': _only(result.steps for result in results),
        'images_seen': _only(result.images_seen for result in results),
    }


def _run_row(arm: runs.Arm, run: records.Run) -> dict[str, Any]:
    accuracies = (None, None) if run.result is None else (run.result.accuracy, run.result.validation_accuracy)
    row = {'arm': arm.label, 'seed': run.seed, 'run': run.name, 'status': run.status}
    return row | dict(zip(('test_accuracy', 'validation_accuracy'), accuracies, strict=True))


def _cells(table: Table, marks: dict[str, str], escape: Callable[[str], str] = str) -> pd.DataFrame:
    rows, speeds, compared = [], _device_speeds(table.arms), table.arms['difference'].notna().any()
    for row in table.arms.itertuples(index=False):
        accuracy = _with_half_width(row.test_accuracy, row.low, row.high, '.2f')
        against = {AGAINST: _with_half_width(row.difference, row.difference_low, row.difference_high, '+.2f')}
        why = ', '.join(f'{getattr(row, status)} {status}' for status in records.UNFINISHED if getattr(row, status))
        cells = {
            'Arm': escape(row.arm),
            ACCURACY: marks[row.mark].format(accuracy),
            **(against if compared else {}),
            'n': f'{row.n} of {row.runs} ({why})' if why else str(row.n),
            'Params': _number(row.params, ',d'),
            'Forward MFLOPs': _number(row.forward_flops, ',.2f', 1e-6),
            'Images/s': _number(row.images_per_second, ',.0f'),
            **{heading: _number(getattr(row, name), form, unit) for heading, (name, form, unit) in speeds.items()},
            'Steps': _number(row.steps, ',d'),
            'Images seen': _number(row.images_seen, ',d'),
        }
        rows.append(cells)
    return pd.DataFrame(rows)


def _device_speeds(arms: pd.DataFrame) -> dict[str, tuple[str, str, int | float]]:
    """Headings of what the devices achieved, where any arm tells it: the column of `arms`, its format and its unit."""
    achieved = arms['flops_per_second'].max()
    columns = {}
    if pd.notna(achieved):
        heading, unit = ('TFLOP/s', 1e-12) if achieved >= 1e13 else ('GFLOP/s', 1e-9)
        columns[heading] = ('flops_per_second', ',.1f', unit)
    if arms['mfu'].notna().any():
        columns['MFU, %'] = ('mfu', '.1f', 100)
    return columns


def _with_half_width(mean: float, low: float, high: float, form: str) -> str:
    """Fractions as percents: `97.00 ± 2.48`."""
    if pd.isna(mean):
        return '-'
    half = '' if pd.isna(low) else f' ± {(high - low) * 50:.2f}'
    return f'{round(100 * mean, 2) + 0:{form}}{half}'  # + 0: no -0.00


def _number(value: Any, form: str, unit: int | float = 1) -> str:
    return '-' if pd.isna(value) else format(value * unit, form)


def _alignment(cells: pd.DataFrame, label: str, number: str) -> list[str]:
    return [label] + [number] * (len(cells.columns) - 1)


def _notes(table: Table, best: str) -> list[str]:
    """The notes, behind a legend of the marks in use; `best` is how this format marks the best arm."""
    arms = table.arms
    used = set(arms['mark'])
    # An arm that was left out may have a higher one.
    left_out = (arms['mark'] == '') & arms['p_value'].isna() & arms['test_accuracy'].notna()
    legend = [f'{best}: highest mean{" of the arms compared" if left_out.any() else ""}'] if 'best' in used else []
    if 'indistinguishable' in used:
        legend.append('†: not shown to differ from it, which does not say that they are equal')
    return [f'{"; ".join(legend)}.', *table.notes] if legend else list(table.notes)


def _statistics_note(arms: pd.DataFrame, comparison: statistics.Comparison) -> str:
    tested = sum(p_value is not None for p_value in comparison.p_values.values())
    note = 'Mean over seeds ± half-width of its 95% confidence interval (Student t'
    without = '; none for one seed, seeds that tie, or an arm with an unfinished run'
    note += f'{without if arms["low"].isna().any() else ""}). '
    if len(arms) == 1:
        return note.rstrip()
    if comparison.best is None:
        return f'{note}No arm is marked: that takes one of two seeds or more, every run finished, and one test set.'
    if tested:
        corrected = f', Holm-corrected over {tested} arms' if tested > 1 else ''
        note += f'Arms meet the best in a two-sided t-test paired by seed{corrected}, at {SIGNIFICANCE}. '
        note += f'{AGAINST.partition(",")[0]}: the mean difference over seeds, with the interval of that pair alone. '
    if tested < len(arms) - 1:
        note += 'Arms of one seed, with an unfinished run, or without two seeds in common with the best are not tested.'
    return note.rstrip()


def _sampling_note(arms: pd.DataFrame, comparison: statistics.Comparison, images: int) -> str:
    """What the intervals leave out, at the accuracy of the best arm, or of the first."""
    accuracies = arms['test_accuracy']
    accuracy = accuracies.dropna().iloc[0] if comparison.best is None else accuracies[comparison.best]
    half = 100 * statistics.sampling_half_width(accuracy, images)
    note = (
        f' Intervals are over seeds, on one split and one test set; what sampling its {images:,} images adds '
        f'(± {half:.2g} points at {100 * accuracy:.4g}%) is not in them.'
    )
    return f'{note} Being symmetric, they may reach beyond 100%.' if (arms['high'] > 1).any() else note


def _warnings(sweep: runs.Sweep, finished: list[records.Run], datasets: list) -> list[str]:
    warnings = [warning for arm in sweep.arms for warning in _arm_warnings(arm)]
    if len(datasets) > 1:
        warnings.append('the arms were tested on different data, so none is marked')
    if len({len(arm.tuning.tried) if arm.tuning else 1 for arm in sweep.arms}) > 1:
        warnings.append('more settings were tried for some arms than for others')
    if len({frozenset(run.seed for run in arm.finished) for arm in sweep.arms if arm.complete}) > 1:
        warnings.append('the arms have different seeds; they are compared over those that two arms share')
    for what, values in (
        ('by different code', (commit_of(run.result) for run in finished)),
        ('with different versions', (run.result.versions for run in finished)),
        ('on different devices', (run.result.device for run in finished)),
        ('with different selection', ((run.result.selection_split, run.result.selection_rule) for run in finished)),
    ):
        if len(distinct(values)) > 1:
            warnings.append(f'the runs were made {what}')
    return warnings


def _arm_warnings(arm: runs.Arm) -> list[str]:
    warnings = []
    if arm.finished and not arm.complete:
        left = f'{len(arm.finished)} of {len(arm.runs)} runs'
        warnings.append(f'the mean of {arm.label} is over the {left} that finished; it is not compared')
    differs = [name for name in CONSTANT if len(distinct(getattr(run.result, name) for run in arm.finished)) > 1]
    if differs:
        warnings.append(f'runs of {arm.label} differ in {", ".join(differs)}')
    for run in arm.runs:
        seed = '' if run.seed is None else f', seed {run.seed}'
        if run.status in ('diverged', 'failed'):
            warnings.append(f'{run.name} ({arm.label}{seed}) {run.status} {run.detail.rstrip(".")}'.rstrip())
        elif run.result and run.result.mixed:
            warnings.append(f'{run.name} ({arm.label}{seed}) was begun by other code or elsewhere')
    return warnings


def _only(values: Iterable[Any]) -> Any:
    """The value that all share; None where they differ, which a warning then names."""
    found = distinct(values)
    return found[0] if len(found) == 1 else None


def _mean(values: Iterable[float | None]) -> float:
    """Of those that are known; NaN where none is."""
    return statistics.mean_and_interval([value for value in values if value is not None]).mean
