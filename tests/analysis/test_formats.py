"""A table says the same in every format, and stays text whatever a label holds."""

import io
import math
import re

import pandas as pd
import pytest

from analysis import formats, output, statistics, tables
from analysis.reading import runs
from configs.errors import ConfigError
from tests.analysis.arms import BEST, POOR, as_printed, markdown_rows

HOSTILE = [
    'a|b',
    'learned_1d _x_ *y* `z`',
    '100% & more # $1 {} ~ ^',
    '<script>alert(1)</script>',
    r'\input{/etc/passwd}',
    '[red]not red[/red] [link](http://example.com)',
    '=1+1',
    '@sum',
    '1e5',
    '&lt;',
]


def test_marks_in_every_format(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    assert table.arms['mark'].tolist() == ['', 'best', 'indistinguishable']
    half = statistics.mean_and_interval(BEST).half_width * 100
    best = f'97.00 ± {half:.2f}'
    markdown = formats.to_markdown(table)
    assert f' **{best}** |' in markdown
    assert re.search(r'96\.83 ± [\d.]+ † \|', markdown)
    latex = formats.to_latex(table)
    assert rf'\textbf{{97.00 $\pm$ {half:.2f}}}' in latex
    assert re.search(r'96\.83 \$\\pm\$ [\d.]+ \$\^\\dagger\$', latex)
    printed = as_printed(table)
    assert f'{best} *' in printed
    assert re.search(r'96\.83 ± [\d.]+ †', printed)
    assert '\x1b' not in printed
    for text in (markdown, printed):
        assert re.search(r'56\.67 ± [\d.]+ +\|? +-40\.33 ± 2\.87 ', text)


def _measured(flops, **more):
    return {'test.examples': 1000, 'train_step_flops': 10**9, 'flops_per_second': flops, **more}


def test_what_devices_achieved_stands_beside_images_per_second(workdir):
    for seed, flops in enumerate((3.1e10, 3.3e10)):
        workdir.add('new', seed, BEST[seed], result=_measured(flops, host_gap_share=0.004 + seed / 100))
        workdir.add('older', seed, POOR[seed], {'model.mixer': 'conv'}, {'test.examples': 1000})
    table = tables.make_table(runs.read(workdir.write()))
    heading, _, new, older = markdown_rows(formats.to_markdown(table))
    place = heading.index('GFLOP/s')
    assert heading[place - 1] == 'Images/s'
    assert (new[place], older[place]) == ('32.0', '-')
    assert not any('MFU' in name for name in heading)
    assert 'GFLOP/s' in formats.to_latex(table)
    row = pd.read_csv(io.StringIO(output.to_csv(table.arms))).set_index('arm').loc['new']
    speeds = row[['flops_per_second', 'host_gap_share', 'train_step_flops']].tolist()
    assert speeds == pytest.approx([3.2e10, 0.009, 1e9])
    assert math.isnan(row['mfu'])
    (note,) = (note for note in table.notes if 'Speeds' in note)
    assert 'MFU' not in note
    assert 'waited for the host for at most 1.4% of the training time' in note


def test_the_share_of_the_peak_stands_where_it_is_known(workdir):
    workdir.add('fast', 0, 0.9, result=_measured(4.05e14, mfu=0.4095))
    workdir.add('faster', 0, 0.8, {'model.mixer': 'conv'}, _measured(5e14, mfu=0.5055))
    table = tables.make_table(runs.read(workdir.write()))
    heading, _, *rows = markdown_rows(formats.to_markdown(table))
    places = heading.index('TFLOP/s'), heading.index('MFU, %')
    assert [[row[place] for place in places] for row in rows] == [['405.0', '40.9'], ['500.0', '50.5']]
    assert any("MFU is their share of the devices' peak" in note for note in table.notes)


def test_a_table_of_older_results_is_as_it_was(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    first, *headings = markdown_rows(formats.to_markdown(table))[0]
    assert (first, headings[:2]) == ('Arm', [formats.ACCURACY, formats.AGAINST])
    assert headings[2:] == ['n', 'Params', 'Forward MFLOPs', 'Images/s', 'Steps', 'Images seen']
    assert not any('peed' in note or 'cache' in note for note in table.notes)


@pytest.fixture
def hostile(workdir):
    for depth, label in enumerate(HOSTILE):
        workdir.add(label, 0, 0.9, {'model.depth': depth + 1})
        workdir.add(label, 1, 0.91, {'model.depth': depth + 1}, {'status': 'diverged', 'diverged_step': 3})
    return tables.make_table(runs.read(workdir.write()))


def test_markdown_is_well_formed_whatever_a_label_holds(hostile):
    text = formats.to_markdown(hostile)
    rows = markdown_rows(text)
    assert len(rows) == 2 + len(HOSTILE)
    assert {len(row) for row in rows} == {8}
    assert '<' not in text
    labels = [row[0] for row in rows[2:]]
    assert labels[0] == r'a\|b'
    assert labels[1] == r'learned_1d \_x\_ \*y\* \`z\`'
    assert labels[5].startswith(r'\[red\]')
    assert labels[8:] == ['1e5', '&amp;lt;']


def test_latex_is_escaped_whatever_a_label_holds(hostile):
    latex = formats.to_latex(hostile)
    assert r'\textbackslash input\{/etc/passwd\}' in latex
    assert r'100\% \& more \# \$1 \{\}' in latex
    commands = set(re.findall(r'\\([a-zA-Z]+)', latex))
    assert commands <= {
        *('usepackage', 'begin', 'end', 'centering', 'toprule', 'midrule', 'bottomrule', 'medskip', 'footnotesize'),
        *(
            'textbf',
            'pm',
            'dagger',
            'ldots',
            'linewidth',
            'textbackslash',
            'textasciitilde',
            'textasciicircum',
            'space',
        ),
    }
    # Without the escaped ones, braces and dollars pair up, and each row has as many cells as the heading.
    bare = re.sub(r'\\[\\{}$&%#_]', ' ', latex.replace(r'\\', ''))
    depth = 0
    for character in bare:
        depth += {'{': 1, '}': -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count('$') % 2 == 0
    assert bare.count('%') == 1  # the comment on top
    body = bare[bare.index('toprule') : bare.index('bottomrule')].splitlines()
    assert {line.count('&') for line in body if '&' in line} == {7}
    assert latex.count(r'\begin{') == latex.count(r'\end{') == 3


def test_printing_shows_labels_as_they_are(hostile):
    printed = as_printed(hostile)
    for label in HOSTILE:
        assert label in printed


def test_a_spreadsheet_meets_no_formula(hostile):
    labels = pd.read_csv(io.StringIO(output.to_csv(hostile.arms)))['arm'].tolist()
    assert labels[6:8] == ["'=1+1", "'@sum"]
    assert labels[0] == HOSTILE[0]


def test_printing_to_a_stream_without_unicode(three_arms):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding='ascii')
    three_arms.add('é', 0, 0.5, {'model.depth': 9}, {'test.examples': 1000})
    formats.print_table(tables.make_table(runs.read(three_arms.write())), stream)
    stream.flush()
    text = raw.getvalue().decode('ascii')
    assert '97.00 +/- 2.48 *' in text
    assert '+: not shown to differ from it' in text


def test_files_are_written_whole(three_arms):
    folder = three_arms.write()
    table = tables.make_table(runs.read(folder))
    paths = formats.write_tables(folder, table)
    assert [path.name for path in paths] == ['table.md', 'table.tex', 'table.csv', 'table_runs.csv']
    assert paths[0].read_text(encoding='utf-8') == formats.to_markdown(table)
    assert paths[1].read_text(encoding='utf-8') == formats.to_latex(table)
    assert paths[2].read_text(encoding='utf-8') == output.to_csv(table.arms)
    assert paths[3].read_text(encoding='utf-8') == output.to_csv(table.runs)
    assert not list(folder.glob('.*'))


def test_pairs_of_an_earlier_table_do_not_stay(three_arms):
    folder = three_arms.write()
    (folder / 'table_pairs.csv').write_text('of an earlier sweep')
    formats.write_tables(folder, tables.make_table(runs.read(folder)))
    assert not (folder / 'table_pairs.csv').exists()
    (folder / 'table_pairs.csv').mkdir()
    with pytest.raises(ConfigError, match=r'cannot write table_pairs\.csv'):
        formats.write_tables(folder, tables.make_table(runs.read(folder)))


def test_a_folder_that_cannot_be_written_is_one_line_after_its_table(three_arms, capsys):
    folder = three_arms.write()
    (folder / 'table.md').mkdir()  # stands in the way of the rename; permissions would not stop root
    with pytest.raises(ConfigError, match=r'cannot write table\.md'):
        formats.report(folder, runs.read(folder))
    assert '97.00' in capsys.readouterr().out
    assert not list(folder.glob('.*'))


def test_an_arm_without_a_finished_run_has_a_row_and_no_number(three_arms):
    three_arms.add('gone', 0, 0.5, {'model.mixer': 'gru'}, {'status': 'diverged', 'diverged_step': None})
    text = formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    row = next(row for row in markdown_rows(text) if row[0] == 'gone')
    assert row == ['gone', '-', '-', '0 of 1 (1 diverged)', '-', '-', '-', '-', '-']
    assert 'nan' not in text.lower()


def test_the_highest_mean_is_that_of_the_arms_compared_where_one_was_not(three_arms):
    whole = formats.notes(tables.make_table(runs.read(three_arms.write())), 'Bold')
    assert whole[0].startswith('Bold: highest mean;')
    three_arms.add('cut', 0, 0.99, {'model.depth': 9}, {'test.examples': 1000})
    three_arms.add('cut', 1, config={'model.depth': 9}, finished=False)
    cut = formats.notes(tables.make_table(runs.read(three_arms.write())), 'Bold')
    assert cut[0].startswith('Bold: highest mean of the arms compared;')
