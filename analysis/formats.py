"""A sweep's table on stdout, and as Markdown, LaTeX (booktabs) and CSV in the sweep's folder."""

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from analysis import output
from analysis.output import escape_markdown
from analysis.reading import runs
from analysis.tables import Table, make_table
from analysis.terminal import WRAPPED, Terminal, alignment
from analysis.wording import number, p_value, percent

ACCURACY, AGAINST = 'Test accuracy, %', 'Against best, points'
Numbers = dict[str, tuple[str, str, int | float]]  # by heading: a column of a table's arms, its format and its unit
COST: Numbers = {'Params': ('params', ',d', 1), 'Forward MFLOPs': ('forward_flops', ',.2f', 1e-6)}
SPEED: Numbers = {'Images/s': ('images_per_second', ',.0f', 1)}
BUDGET: Numbers = {'Steps': ('steps', ',d', 1), 'Images seen': ('images_seen', ',d', 1)}
MARKS = {'best': '{} *', 'indistinguishable': '{} †', '': '{}'}
MARKDOWN_MARKS = MARKS | {'best': '**{}**'}
NOTES = r'p{0.95\linewidth}'  # LaTeX's column for them
LATEX_SYMBOLS = str.maketrans({'±': r'$\pm$', '†': r'$^\dagger$', '…': r'\ldots{}', '<': '$<$', '>': '$>$'})


def report(workdir: str | Path, sweep: runs.Sweep) -> None:
    """Prints the table of the sweep in `workdir` and writes its files there.

    Prints first: a folder that can be read but not written still gives its table. Raises analysis.output.write's
    errors.
    """
    table = make_table(sweep)
    print_table(table)
    for path in write_tables(workdir, table):
        print(path)


def print_table(table: Table, stream: io.TextIOBase | None = None) -> None:
    """Prints the table and its notes: aligned, with the best arm in bold on a terminal, whole lines elsewhere."""
    terminal = Terminal(stream)
    terminal.grid(_on_two_lines(_cells(table, MARKS)), table.arms['mark'] == 'best')
    if not table.pairs.empty:
        terminal.grid(_on_two_lines(pair_cells(table)))
    for note in notes(table, '*'):
        terminal.line(note)


def _on_two_lines(cells: pd.DataFrame) -> pd.DataFrame:
    """With headings of numbers broken after their first word."""
    return cells.rename(columns=lambda name: name if name in WRAPPED else name.replace(' ', '\n', 1))


def write_tables(workdir: str | Path, table: Table) -> list[Path]:
    """Writes the table to `workdir`, each file whole or not at all, and returns their paths.

    table.md, table.tex, table.csv, and table_runs.csv, with a row for each run; table_pairs.csv where pairs are asked
    for.

    Raises analysis.output.write's errors.
    """
    contents = {'table.md': to_markdown(table), 'table.tex': to_latex(table)}
    contents |= {'table.csv': output.to_csv(table.arms), 'table_runs.csv': output.to_csv(table.runs)}
    written = [output.write(Path(workdir) / name, content) for name, content in contents.items()]
    return written + output.write_table(Path(workdir) / 'table_pairs.csv', table.pairs)


def to_markdown(table: Table) -> str:
    """The table and its notes as GitHub-flavoured Markdown; labels are text there, never markup or HTML."""
    bodies = [_cells(table, MARKDOWN_MARKS, escape_markdown)]
    if not table.pairs.empty:
        bodies.append(pair_cells(table, escape_markdown))
    # Without disable_numparse, tabulate would print a label such as 1e5 as a number.
    shown = [cells.to_markdown(index=False, disable_numparse=True, colalign=alignment(cells)) for cells in bodies]
    below = ''.join(f'- {escape_markdown(note)}\n' for note in notes(table, 'Bold'))
    return '\n\n'.join([*shown, below])


def to_latex(table: Table) -> str:
    """The table and its notes as a LaTeX fragment for booktabs, escaped by pandas."""
    cells = _cells(table, MARKS | {'best': '{}'})
    bold = ['textbf:--rwrap;' if mark == 'best' else '' for mark in table.arms['mark']]
    bodies = [_latex_style(cells).apply(lambda column: bold, subset=[ACCURACY])]
    if not table.pairs.empty:
        bodies.append(_latex_style(pair_cells(table)))
    shown = [body.to_latex(hrules=True, column_format=''.join(alignment(body.data, 'l', 'r'))) for body in bodies]
    # The notes are a table too, so that pandas escapes them.
    below = pd.DataFrame({'note': notes(table, 'Bold')}).style.hide(axis='index').hide(axis='columns')
    shown.append(f'\\footnotesize\n{below.format(_no_option, escape="latex").to_latex(column_format=NOTES)}')
    fragment = '\n\\medskip\n'.join(shown).translate(LATEX_SYMBOLS)
    return f'% needs \\usepackage{{booktabs}}\n\\begin{{table}}\n\\centering\n{fragment}\\end{{table}}\n'


def _latex_style(cells: pd.DataFrame) -> Styler:
    return (
        cells.style.hide(axis='index').format(_no_option, escape='latex').format_index(escape='latex', axis='columns')
    )


def notes(table: Table, best: str) -> list[str]:
    """The notes, behind a legend of the marks in use; `best` is how this format marks the best arm."""
    arms = table.arms
    used = set(arms['mark'])
    # An arm that was left out may have a higher one.
    left_out = (arms['mark'] == '') & arms['p_value'].isna() & arms['test_accuracy'].notna()
    legend = [f'{best}: highest mean{" of the arms compared" if left_out.any() else ""}'] if 'best' in used else []
    if 'indistinguishable' in used:
        legend.append('†: not shown to differ from it, which does not mean that the two are equal')
    return [f'{"; ".join(legend)}.', *table.notes] if legend else list(table.notes)


def _no_option(text: str) -> str:
    r"""A cell that the end of the row before it, `\\`, cannot take for its option, a length in brackets or a star."""
    return f'{{}}{text}' if text.startswith(('[', '*')) else text


def _cells(table: Table, marks: dict[str, str], escape: Callable[[str], str] = str) -> pd.DataFrame:
    rows, compared = [], table.arms['difference'].notna().any()
    columns = COST | SPEED | _device_speeds(table.arms) | BUDGET
    for row in table.arms.itertuples(index=False):
        accuracy = percent(row.test_accuracy, row.low, row.high)
        against = {AGAINST: percent(row.difference, row.difference_low, row.difference_high, '+.2f')}
        cells = {
            'Arm': escape(row.arm),
            ACCURACY: marks[row.mark].format(accuracy),
            **(against if compared else {}),
            'n': runs.runs_counted(row.n, row.runs, row._asdict()),
            **{heading: number(getattr(row, name), form, unit) for heading, (name, form, unit) in columns.items()},
        }
        rows.append(cells)
    return pd.DataFrame(rows)


def pair_cells(table: Table, escape: Callable[[str], str] = str) -> pd.DataFrame:
    """The pairs that the sweep asks to compare, as text."""
    rows = [
        {
            'Arm': escape(row.arm),
            'Against': escape(row.against),
            'Difference, points': percent(row.difference, row.low, row.high, '+.2f'),
            'n': str(row.n),
            'p, corrected': escape(p_value(row.p_value)),
        }
        for row in table.pairs.itertuples(index=False)
    ]
    return pd.DataFrame(rows)


def _device_speeds(arms: pd.DataFrame) -> Numbers:
    """What the devices achieved, where any arm tells it."""
    achieved = arms['flops_per_second'].max()
    columns = {}
    if pd.notna(achieved):
        heading, unit = ('TFLOP/s', 1e-12) if achieved >= 1e13 else ('GFLOP/s', 1e-9)
        columns[heading] = ('flops_per_second', ',.1f', unit)
    if arms['mfu'].notna().any():
        columns['MFU, %'] = ('mfu', '.1f', 100)
    return columns
