"""Tables print what was measured, and mark what is best."""

import io
import math
import re

import pandas as pd
import pytest

from analysis import formats, output, statistics, tables
from analysis.reading import runs
from tests.analysis.arms import BEST, CLOSE, POOR, as_printed, markdown_rows


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
    assert back.loc[0, 'p_value'] == pytest.approx(2 * statistics.paired_difference(BEST, POOR).p_value)
    assert back.loc[2, 'p_value'] == pytest.approx(statistics.paired_difference(BEST, CLOSE).p_value)
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
    (images,) = rows['test_examples'].dropna().unique()
    difference = statistics.paired_difference(by_seed['best'].to_numpy(), by_seed['close'].to_numpy(), 1 / images)
    assert difference.p_value == pytest.approx(arms.loc['close', 'p_value'])
    against = statistics.mean_and_interval((by_seed['poor'] - by_seed['best']).to_numpy())
    found = arms.loc['poor', ['difference', 'difference_low', 'difference_high']].tolist()
    assert found == pytest.approx(list(against[:3]))


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
    assert 'over the 2 of 3 runs that finished; the arm is not compared with others' in text


def test_one_seed_has_no_interval_and_no_mark(workdir):
    workdir.add('one', 0, 0.9)
    workdir.add('other', 0, 0.8, {'model.mixer': 'conv'})
    table = tables.make_table(runs.read(workdir.write()))
    rows = markdown_rows(formats.to_markdown(table))
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


def test_pairs_are_compared_where_their_own_test_set_is_one(workdir):
    for seed in (0, 1, 2):
        workdir.add('best', seed, BEST[seed])
        workdir.add('close', seed, CLOSE[seed], {'model.depth': 5})
        workdir.add('elsewhere', seed, POOR[seed], {'data.name': 'cifar10'})
    table = tables.make_table(_compared(workdir, close=['best'], elsewhere=['best']))
    close, elsewhere = table.pairs.itertuples()
    assert close.p_value == statistics.paired_difference(CLOSE, BEST, 1 / 360).p_value
    assert math.isnan(elsewhere.p_value)
    assert math.isnan(elsewhere.difference)
    assert 'with different test images' in ' '.join(table.notes)


def test_differences_without_spread_are_judged_by_one_image_of_the_test_set(workdir):
    """To the best as in pairs: two images more with each seed are t = 2 sqrt(3), with 2 degrees of freedom."""
    for seed, right in enumerate((350, 341, 346)):
        workdir.add('better', seed, right / 360)
        workdir.add('worse', seed, (right - 2) / 360, {'model.depth': 5})
    table = tables.make_table(_compared(workdir, worse=['better']))
    t = 2 * math.sqrt(3)
    p_value = 1 - t / math.sqrt(t**2 + 2)
    assert table.arms.set_index('arm').loc['worse', 'p_value'] == pytest.approx(p_value)
    assert table.pairs['p_value'].tolist() == pytest.approx([p_value])


def test_no_arm_is_best_of_those_that_nothing_was_tested_against(workdir):
    for seed in (0, 1):
        workdir.add('poor', seed, POOR[seed])
    workdir.add('one seed', 0, 0.99, {'model.depth': 5})
    table = tables.make_table(runs.read(workdir.write()))
    assert table.arms['mark'].tolist() == ['', '']
    assert 'No arm is marked as best' in table.notes[0]


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
    alone = [statistics.paired_difference(values[one], values[other], 1e-3).p_value for one, other in pairs]
    p_values = statistics.holm(alone)
    assert table.pairs['p_value'].tolist() == pytest.approx(p_values)
    for row, (one, other) in zip(table.pairs.itertuples(), pairs, strict=True):
        expected = statistics.mean_and_interval([a - b for a, b in zip(values[one], values[other], strict=True)])
        assert (row.difference, row.low, row.high) == pytest.approx(expected[:3])
    # The best is compared as ever.
    assert table.arms['mark'].tolist() == ['', 'best', 'indistinguishable']
    markdown, printed, latex = formats.to_markdown(table), as_printed(table), formats.to_latex(table)
    for text in (markdown, printed):
        assert re.search(r'poor +\|? +best +\|? +-40\.33 ± 2\.87 +\|? +3 +\|? +(<|&lt;) 0\.001', text), text
    assert re.search(r'poor & best & -40\.33 \$\\pm\$ 2\.87 & 3 & \$<\$ 0\.001 \\\\', latex)
    for text in (markdown, printed, latex):
        assert 'Holm-corrected over 3 pairs' in ' '.join(text.split())
    paths = [path.name for path in formats.write_tables(three_arms.path, table)]
    assert 'table_pairs.csv' in paths
    back = pd.read_csv(three_arms.path / 'table_pairs.csv')
    assert back['p_value'].tolist() == pytest.approx(p_values)


def test_arms_that_name_each_other_have_a_row_each_and_one_test(three_arms):
    once = tables.make_table(_compared(three_arms, poor=['close'], best=['close']))
    both = tables.make_table(_compared(three_arms, poor=['close'], best=['close'], close=['best']))
    assert both.pairs['p_value'].tolist() == [*once.pairs['p_value'], once.pairs['p_value'][1]]
    assert 'over 2 pairs.' in ' '.join(once.notes)
    assert 'over 2 pairs (a pair that both arms name counts once).' in ' '.join(both.notes)
    rows = {tuple(row[:2]): row[2] for row in markdown_rows(formats.to_markdown(both))[-3:]}
    assert rows['best', 'close'] == '+0.17 ± 2.59'
    assert rows['close', 'best'] == '-0.17 ± 2.59'


def test_one_pair_that_both_arms_name_is_corrected_for_nothing(three_arms):
    table = tables.make_table(_compared(three_arms, best=['close'], close=['best']))
    assert table.pairs['p_value'].tolist() == [statistics.paired_difference(BEST, CLOSE, 1e-3).p_value] * 2
    (note,) = [note for note in table.notes if note.startswith('Pairs')]
    assert note.endswith('p is from a two-sided t-test paired by seed.')


def test_a_table_that_is_asked_for_no_pairs_has_none(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    assert table.pairs.empty
    assert not any('Pairs' in note for note in table.notes)
    assert 'table_pairs.csv' not in [path.name for path in formats.write_tables(three_arms.path, table)]
    assert 'Against |' not in formats.to_markdown(table)


def test_a_pair_with_an_unfinished_run_stands_untested(three_arms):
    three_arms.add('poor', 3, 0.9, {'model.mixer': 'identity'}, {'status': 'diverged', 'diverged_step': 3})
    table = tables.make_table(_compared(three_arms, poor=['best'], close=['poor', 'best']))
    *untested, tested = table.pairs.itertuples(index=False)
    assert [(pair.arm, pair.against) for pair in untested] == [('poor', 'best'), ('close', 'poor')]
    for pair in untested:
        assert math.isnan(pair.difference)
        assert math.isnan(pair.p_value)
    assert tested.p_value == pytest.approx(statistics.paired_difference(CLOSE, BEST, 1e-3).p_value)
    assert any('Pairs with an unfinished run' in note for note in table.notes)
    assert re.search(r'poor +\| best +\| +- \| +0 \| +- \|', formats.to_markdown(table))


def test_each_row_of_a_label_over_several_configs_is_compared(three_arms):
    for seed in range(3):
        three_arms.add('close', seed, CLOSE[seed], {'model.depth': 7})
    table = tables.make_table(_compared(three_arms, close=['best']))
    assert table.pairs['against'].tolist() == ['best', 'best']
    assert [label.startswith('close (') for label in table.pairs['arm']] == [True, True]


def test_a_pair_whose_other_is_not_there_is_a_warning(three_arms):
    table = tables.make_table(_compared(three_arms, poor=['bset', 'close', 'poor']))
    assert table.pairs['against'].tolist() == ['close']
    assert any('arms are to be compared with bset, for which there is no row' in note for note in table.notes)


@pytest.mark.parametrize('against', ['best', [3], {'best': 1}, [['best']]])
def test_nonsense_for_a_pair_is_named_and_nothing_is_compared(three_arms, against):
    table = tables.make_table(_compared(three_arms, poor=against))
    assert table.pairs.empty
    assert any('which is no list of arms' in note for note in table.notes)
