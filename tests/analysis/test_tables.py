"""Tables print what was measured, mark what is best, and stay text whatever a label holds."""

import io
import math
import re

import pandas as pd
import pytest

from analysis import formats, output, statistics, tables
from analysis.reading import runs
from configs.errors import ConfigError

POOR, BEST, CLOSE = (0.58, 0.55, 0.57), (0.97, 0.96, 0.98), (0.96, 0.97, 0.975)
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


@pytest.fixture
def three_arms(workdir):
    for label, mixer, accuracies in (
        ('poor', 'identity', POOR),
        ('best', 'attention', BEST),
        ('close', 'conv', CLOSE),
    ):
        for seed, accuracy in enumerate(accuracies):
            workdir.add(label, seed, accuracy, {'model.mixer': mixer}, {'test.examples': 1000})
    return workdir


def _printed(table):
    stream = io.StringIO()
    formats.print_table(table, stream)
    return stream.getvalue()


def _markdown_rows(text):
    """Cells of a GitHub-flavoured table, by its own rule: a pipe parts cells unless a backslash stands before it."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in lines]


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
    printed = _printed(table)
    assert f'{best} *' in printed
    assert re.search(r'96\.83 ± [\d.]+ †', printed)
    assert '\x1b' not in printed
    for text in (markdown, printed):
        assert re.search(r'56\.67 ± [\d.]+ +\|? +-40\.33 ± 2\.87 ', text)


def test_csv_round_trips_to_equal_numbers(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    back = pd.read_csv(io.StringIO(output.to_csv(table.arms)), keep_default_na=True)
    expected = table.arms
    assert back['arm'].tolist() == ['poor', 'best', 'close']
    for name in expected.columns.difference(['arm', 'mark']):
        assert back[name].astype(float).equals(expected[name].astype(float)), name
    interval = statistics.mean_and_interval(CLOSE)
    assert back.loc[2, ['test_accuracy', 'low', 'high']].tolist() == list(interval[:3])
    # Holm's: the smaller of two is doubled, the larger stays.
    assert back.loc[0, 'p_value'] == pytest.approx(2 * statistics.paired_p_value(BEST, POOR))
    assert back.loc[2, 'p_value'] == pytest.approx(statistics.paired_p_value(BEST, CLOSE))
    assert math.isnan(back.loc[1, 'p_value'])


def test_the_table_can_be_computed_again_from_the_rows_of_its_runs(three_arms):
    three_arms.add('gone', 0, 0.5, {'model.mixer': 'gru'}, {'status': 'diverged', 'diverged_step': 3})
    table = tables.make_table(runs.read(three_arms.write()))
    rows = pd.read_csv(io.StringIO(output.to_csv(table.runs)))
    assert rows.loc[rows['arm'] == 'gone', ['seed', 'status', 'test_accuracy']].values.tolist() == [
        [0, 'diverged', pytest.approx(math.nan, nan_ok=True)]
    ]
    by_seed = rows[rows['status'] == 'finished'].pivot(index='seed', columns='arm', values='test_accuracy')
    arms = table.arms.set_index('arm')
    assert by_seed.mean().to_dict() == pytest.approx(arms['test_accuracy'].drop('gone').to_dict())
    p_value = statistics.paired_p_value(by_seed['best'].to_numpy(), by_seed['close'].to_numpy(), 1 / 1000)
    assert p_value == pytest.approx(arms.loc['close', 'p_value'])
    against = statistics.mean_and_interval((by_seed['poor'] - by_seed['best']).to_numpy())
    found = arms.loc['poor', ['difference', 'difference_low', 'difference_high']].tolist()
    assert found == pytest.approx(list(against[:3]))


def test_notes_hold_what_a_reviewer_asks_for(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    for text in (formats.to_markdown(table), _printed(table)):
        assert '660 steps of 128 images, 84,480 images seen' in text
        assert 'validation: 10% of train, stratified' in text
        assert 'Each run met the test set (1,000 images) once, at its end' in text
        assert '(± 1.1 points at 97%) is not in them' in text
        assert 'Seeds: 0, 1, 2.' in text
        assert 'Student t' in text
        assert 'paired by seed, Holm-corrected over 2 arms' in text
        assert '1 x cpu' in text
        assert 'jax 0.10.2' in text
        assert '0123456789' in text
        assert 'Warning' not in text


def test_a_window_s_flops_are_said_to_be_those_computed(three_arms):
    assert 'Forward FLOPs are per image.' in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    three_arms.add('near', 0, 0.9, {'model.window': 3}, {'test.examples': 1000})
    said = 'per image; those of attention in windows count pairs that are computed and then masked.'
    assert said in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))


def _measured(flops, **more):
    return {'test.examples': 1000, 'train_step_flops': 10**9, 'flops_per_second': flops, **more}


def test_what_devices_achieved_stands_beside_images_per_second(workdir):
    for seed, flops in enumerate((3.1e10, 3.3e10)):
        workdir.add('new', seed, BEST[seed], result=_measured(flops, host_gap_share=0.004 + seed / 100))
        workdir.add('older', seed, POOR[seed], {'model.mixer': 'conv'}, {'test.examples': 1000})
    table = tables.make_table(runs.read(workdir.write()))
    heading, _, new, older = _markdown_rows(formats.to_markdown(table))
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
    assert 'waited for the host for no more than 1.4% of the time' in note


def test_a_kernel_that_was_not_the_one_asked_for_is_told(workdir):
    """Else its speeds would be taken for those of the other."""
    asked = {'model.attention_kernel': 'cudnn'}
    workdir.add('asked', 0, 0.9, asked, {'test.examples': 1000, 'kernel_fallback': 'the backend is cpu'})
    workdir.add('plain', 0, 0.9, result={'test.examples': 1000})
    said = "Attention fell back from the kernel asked for to XLA's: the backend is cpu."
    assert said in formats.to_markdown(tables.make_table(runs.read(workdir.write())))


def test_the_share_of_the_peak_stands_where_it_is_known(workdir):
    workdir.add('fast', 0, 0.9, result=_measured(4.05e14, mfu=0.4095))
    workdir.add('faster', 0, 0.8, {'model.mixer': 'conv'}, _measured(5e14, mfu=0.5055))
    table = tables.make_table(runs.read(workdir.write()))
    heading, _, *rows = _markdown_rows(formats.to_markdown(table))
    places = heading.index('TFLOP/s'), heading.index('MFU, %')
    assert [[row[place] for place in places] for row in rows] == [['405.0', '40.9'], ['500.0', '50.5']]
    assert any('MFU is their share of the peak' in note for note in table.notes)


def test_a_table_of_older_results_is_as_it_was(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    first, *headings = _markdown_rows(formats.to_markdown(table))[0]
    assert (first, headings[:2]) == ('Arm', [formats.ACCURACY, formats.AGAINST])
    assert headings[2:] == ['n', 'Params', 'Forward MFLOPs', 'Images/s', 'Steps', 'Images seen']
    assert not any('peed' in note or 'cache' in note for note in table.notes)


@pytest.mark.parametrize(
    ('results', 'said', 'unsaid'),
    [
        ([{'population': {'size': 3}}] * 2, ['in populations of 3:', 'of a whole population'], ['differ in size']),
        (
            [{'population': {'size': 1}}, {'population': {'size': 8}}],
            ['populations of 1 to 8', 'may differ in speed'],
            [],
        ),
        ([{'population': {'size': 1}}] * 2, [], ['population', 'processes']),
        ([{'population': {'size': 1, 'processes': 2}}] * 2, ['2 processes trained at the same time'], ['populations']),
        (
            [{'compilation_cache': {'hits': 50, 'misses': 0}}, {'compilation_cache': {'hits': 0, 'misses': 53}}],
            ['0 to 50 came from the compilation cache, 0 to 53 were compiled'],
            ['population'],
        ),
    ],
)
def test_what_shared_a_machine_or_a_cache_is_said(workdir, results, said, unsaid):
    for seed, result in enumerate(results):
        workdir.add('arm', seed, 0.9, result=result)
    notes = ' '.join(tables.make_table(runs.read(workdir.write())).notes)
    assert all(text in notes for text in said)
    assert not any(text in notes for text in unsaid)


def test_a_budget_that_differs_is_said(three_arms):
    three_arms.add('short', 0, 0.9, {'train.epochs': 30.0}, {'steps': 330, 'images_seen': 42240, 'test.examples': 1000})
    text = formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    assert 'Arms differ in budget: 330 to 660 steps of 128 images, 42,240 to 84,480 images seen' in text


def test_a_width_that_was_solved_is_said_beside_the_reference(three_arms):
    solved = {'width': {'embed_dim': 52, 'mlp_ratio': 2.0}, 'reference': {'params': 138_890}, 'params': 139_446}
    written = {'model.mixer': 'conv', 'model.depth': 5, 'model.mlp_ratio': 2.0}
    other = {'width': {'resnet_width': 17}, 'reference': {'flops': 2_000_000}, 'forward_flops': 1_970_000}
    coarse = solved | {'width': {'embed_dim': 56, 'mlp_ratio': 132 / 56}}
    for seed in (0, 1):
        three_arms.add('conv 3 x 3', seed, 0.9, written, {'test.examples': 1000, **solved})
    three_arms.add('resnet', 0, 0.9, {'model.name': 'resnet'}, {'test.examples': 1000, **other})
    three_arms.add('coarse', 0, 0.9, {'model.depth': 6}, {'test.examples': 1000, **coarse})
    (note,) = (note for note in tables.make_table(runs.read(three_arms.write())).notes if 'reference' in note)
    assert note == (
        'Widths were solved to match a reference arm. '
        'conv 3 x 3: embed_dim 52 (reference 138,890 params; +0.4%); '
        'resnet: resnet_width 17 (reference 2,000,000 FLOPs; -1.5%); '
        'coarse: embed_dim 56, mlp_ratio 2.357 (reference 138,890 params; +0.4%).'
    )


@pytest.mark.parametrize(
    'result',
    [
        {'width': {'embed_dim': 64, 'mlp_ratio': 4.0}, 'reference': None},
        {'width': 'wide', 'reference': 'params'},
        {'reference': {'params': 0}},
        {'reference': {'params': 'many', 'seconds': 3}},
    ],
)
def test_nothing_is_said_of_a_width_that_was_not_solved(three_arms, result):
    three_arms.add('plain', 0, 0.9, {'model.depth': 5}, {'test.examples': 1000, **result})
    assert 'reference' not in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'git.commit': 'fedcba9876543210'}, 'different code'),
        ({'git.dirty': True}, 'uncommitted changes'),
        ({'code': {'sha256': '0123'}}, 'different code'),
        ({'versions': {'jax': '9.9'}}, 'different versions'),
        ({'device.kind': 'H100'}, 'different devices'),
        ({'selection.rule': 'last'}, 'different selection'),
        (
            {'begun_by': [{'git': {'commit': 'fedcba9876543210'}}]},
            '(late, seed 0) was begun by other code, on other images',
        ),
    ],
)
def test_what_could_explain_a_difference_is_a_warning(three_arms, change, said):
    three_arms.add('late', 0, 0.9, {'model.depth': 5}, {'test.examples': 1000, **change})
    assert said in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))


def test_survivors_of_divergence_never_win(three_arms):
    config = {'model.mixer': 'gru'}
    three_arms.add('unstable', 0, 0.999, config, {'test.examples': 1000})
    three_arms.add('unstable', 1, 0.998, config, {'test.examples': 1000})
    three_arms.add('unstable', 2, 0.1, config, {'status': 'diverged', 'diverged_step': 77})
    table = tables.make_table(runs.read(three_arms.write()))
    row = table.arms.set_index('arm').loc['unstable']
    assert row['mark'] == ''
    assert math.isnan(row['p_value'])
    assert row['test_accuracy'] == pytest.approx(0.9985)
    assert math.isnan(row['low'])
    assert math.isnan(row['high'])
    assert (row['n'], row['runs'], row['diverged']) == (2, 3, 1)
    assert table.arms.set_index('arm').loc['best', 'mark'] == 'best'
    text = formats.to_markdown(table)
    assert 'Bold: highest mean of the arms compared;' in text
    assert '2 of 3 (1 diverged)' in text
    assert 'diverged at step 77' in text
    assert 'over the 2 of 3 runs that finished; it is not compared' in text


def test_an_arm_without_a_finished_run_has_a_row_and_no_number(three_arms):
    three_arms.add('gone', 0, 0.5, {'model.mixer': 'gru'}, {'status': 'diverged', 'diverged_step': None})
    text = formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    row = next(row for row in _markdown_rows(text) if row[0] == 'gone')
    assert row == ['gone', '-', '-', '0 of 1 (1 diverged)', '-', '-', '-', '-', '-']
    assert 'nan' not in text.lower()


def test_one_seed_has_no_interval_and_no_mark(workdir):
    workdir.add('one', 0, 0.9)
    workdir.add('other', 0, 0.8, {'model.mixer': 'conv'})
    table = tables.make_table(runs.read(workdir.write()))
    rows = _markdown_rows(formats.to_markdown(table))
    assert [row[1] for row in rows[2:]] == ['90.00', '80.00']
    assert table.arms['low'].isna().all()
    assert table.arms['mark'].tolist() == ['', '']


def test_a_lone_arm_is_best_of_nothing(workdir):
    for seed in (0, 1):
        workdir.add('alone', seed, BEST[seed])
    table = tables.make_table(runs.read(workdir.write()))
    assert table.arms['mark'].tolist() == ['']
    assert 'marked' not in formats.to_markdown(table)


def test_different_test_sets_have_no_best(workdir):
    for seed in (0, 1, 2):
        workdir.add('digits', seed, BEST[seed])
        workdir.add('others', seed, POOR[seed], {'data.name': 'cifar10'})
    table = tables.make_table(runs.read(workdir.write()))
    assert table.arms['mark'].tolist() == ['', '']
    assert 'tested on different data' in formats.to_markdown(table)


def test_other_images_under_one_name_have_no_best(workdir):
    for seed in (0, 1, 2):
        workdir.add('older', seed, BEST[seed], result={'data': {'test': 'aa'}})
        workdir.add('newer', seed, POOR[seed], {'model.depth': 5}, {'data': {'test': 'bb'}})
    table = tables.make_table(runs.read(workdir.write()))
    assert table.arms['mark'].tolist() == ['', '']
    assert 'tested on different data' in formats.to_markdown(table)


def test_results_that_do_not_tell_their_images_are_compared_as_ever(workdir):
    for seed in (0, 1, 2):
        workdir.add('older', seed, BEST[seed])
        workdir.add('newer', seed, POOR[seed], {'model.depth': 5}, {'data': {'test': 'bb'}})
    assert tables.make_table(runs.read(workdir.write())).arms['mark'].tolist() == ['best', '']


def _compared(workdir, **asked):
    """Writes the list, with whom each arm is to be compared."""
    for row in workdir.listed:
        row |= {'against': asked[row['arm']]} if row['arm'] in asked else {}
    return runs.read(workdir.write())


def test_pairs_that_are_asked_for_are_tested_in_every_format(three_arms):
    table = tables.make_table(_compared(three_arms, poor=['best', 'close'], best=['close']))
    assert table.pairs[['arm', 'against', 'n']].values.tolist() == [
        ['poor', 'best', 3],
        ['poor', 'close', 3],
        ['best', 'close', 3],
    ]
    values = {'poor': POOR, 'best': BEST, 'close': CLOSE}
    pairs = [('poor', 'best'), ('poor', 'close'), ('best', 'close')]
    p_values = statistics.holm([statistics.paired_p_value(values[one], values[other], 1e-3) for one, other in pairs])
    assert table.pairs['p_value'].tolist() == pytest.approx(p_values)
    for row, (one, other) in zip(table.pairs.itertuples(), pairs, strict=True):
        expected = statistics.mean_and_interval([a - b for a, b in zip(values[one], values[other], strict=True)])
        assert (row.difference, row.low, row.high) == pytest.approx(expected[:3])
    # The best is compared as ever.
    assert table.arms['mark'].tolist() == ['', 'best', 'indistinguishable']
    markdown, printed, latex = formats.to_markdown(table), _printed(table), formats.to_latex(table)
    for text in (markdown, printed):
        assert re.search(r'poor +\|? +best +\|? +-40\.33 ± 2\.87 +\|? +3 +\|? +(<|&lt;) 0\.001', text), text
    assert re.search(r'poor & best & -40\.33 \$\\pm\$ 2\.87 & 3 & \$<\$ 0\.001 \\\\', latex)
    for text in (markdown, printed, latex):
        assert 'Holm-corrected over 3 pairs' in ' '.join(text.split())
    paths = [path.name for path in formats.write_tables(three_arms.path, table)]
    assert 'table_pairs.csv' in paths
    back = pd.read_csv(three_arms.path / 'table_pairs.csv')
    assert back['p_value'].tolist() == pytest.approx(p_values)


def test_a_table_that_is_asked_for_no_pairs_has_none(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    assert table.pairs.empty
    assert not any('Pairs' in note for note in table.notes)
    assert 'table_pairs.csv' not in [path.name for path in formats.write_tables(three_arms.path, table)]
    assert 'Against |' not in formats.to_markdown(table)


def test_a_pair_with_an_unfinished_run_stands_untested(three_arms):
    three_arms.add('poor', 3, 0.9, {'model.mixer': 'identity'}, {'status': 'diverged', 'diverged_step': 3})
    table = tables.make_table(_compared(three_arms, poor=['best'], close=['best']))
    untested, tested = table.pairs.itertuples(index=False)
    assert math.isnan(untested.difference)
    assert math.isnan(untested.p_value)
    assert tested.p_value == pytest.approx(statistics.paired_p_value(CLOSE, BEST, 1e-3))
    assert any('Pairs with an unfinished run' in note for note in table.notes)
    assert re.search(r'poor +\| best +\| +- \| +0 \| +- \|', formats.to_markdown(table))


def test_a_pair_whose_other_is_not_there_is_a_warning(three_arms):
    table = tables.make_table(_compared(three_arms, poor=['bset', 'close', 'poor']))
    assert table.pairs['against'].tolist() == ['close']
    assert any('arms are to be compared with bset, of which there is no row' in note for note in table.notes)


@pytest.mark.parametrize('against', ['best', [3], {'best': 1}, [['best']]])
def test_nonsense_for_a_pair_is_named_and_nothing_is_compared(three_arms, against):
    table = tables.make_table(_compared(three_arms, poor=against))
    assert table.pairs.empty
    assert any('which is no list of arms' in note for note in table.notes)


@pytest.fixture
def hostile(workdir):
    for depth, label in enumerate(HOSTILE):
        workdir.add(label, 0, 0.9, {'model.depth': depth + 1})
        workdir.add(label, 1, 0.91, {'model.depth': depth + 1}, {'status': 'diverged', 'diverged_step': 3})
    return tables.make_table(runs.read(workdir.write()))


def test_markdown_is_well_formed_whatever_a_label_holds(hostile):
    text = formats.to_markdown(hostile)
    rows = _markdown_rows(text)
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
    printed = _printed(hostile)
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


def test_a_folder_that_cannot_be_written_is_one_line_after_its_table(three_arms, capsys):
    folder = three_arms.write()
    (folder / 'table.md').mkdir()  # stands in the way of the rename; permissions would not stop root
    with pytest.raises(ConfigError, match=r'cannot write table\.md'):
        formats.report(folder, runs.read(folder))
    assert '97.00' in capsys.readouterr().out
    assert not list(folder.glob('.*'))
