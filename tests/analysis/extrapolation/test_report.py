"""What stands in the tables of other resolutions, and under them."""

import dataclasses
import json

import pandas as pd

from analysis import tables
from analysis.extrapolation import measure, report
from analysis.extrapolation.scores import PAIR
from analysis.reading import runs
from analysis.reading.tuning import Tried, Tuning
from analysis.wording import percent
from experiment import folder
from files.writing import write_json
from tests.analysis.arms import markdown_rows
from tests.analysis.extrapolation.sweep import POLICIES, SEEDS, run_names


def test_each_arm_has_its_own_numbers_and_each_pair_those_of_its_policy(found):
    pairs = [
        (policy, 'conv', 'attention', 8, difference, difference - 0.01, difference + 0.01, 4, 0.03)
        for policy, difference in zip(POLICIES, (0.02, -0.04), strict=True)
    ]
    text = report.to_markdown(found._replace(pairs=pd.DataFrame(pairs, columns=[*PAIR])))
    expected = []
    for policy, difference in zip(POLICIES, ('+2.00', '-4.00'), strict=True):
        for arm in found.arms:
            here = found.summary[(found.summary['policy'] == policy) & (found.summary['arm'] == arm.label)]
            cells = [percent(row.accuracy, row.low, row.high) for row in here.itertuples()]
            expected.append([arm.label, *cells, f'{len(arm.runs)}'])
        expected.append(['conv', 'attention', f'{difference} ± 1.00 (p = 0.030)'])
    rows = [row for row in markdown_rows(text) if row[0] != 'Arm' and ':' not in row[0]]
    assert rows == expected


def test_arms_of_one_label_have_each_its_own_row(found):
    arms = tuple(dataclasses.replace(arm, label=arm.label.replace('conv', 'attention')) for arm in found.arms)
    twins = found._replace(arms=arms, summary=found.summary.replace({'arm': {'conv': 'attention'}}))
    rows, expected = (markdown_rows(report.to_markdown(one)) for one in (twins, found))
    assert rows == [['attention' if cell == 'conv' else cell for cell in row] for row in expected]


def test_no_size_is_said_to_be_the_trained_one_where_runs_were_trained_on_several(found):
    one = found.evaluated[0][0]
    other = one._replace(spec=one.spec._replace(image_shape=(12, 12, 1)))
    assert '(trained)' in report.to_text(found)
    assert '(trained)' not in report.to_text(found._replace(evaluated=((one,), (other,))))


def test_pairs_that_both_arms_name_are_said_to_count_once(found):
    attention, conv, resnet = found.arms
    pair = ('extend', 'conv', 'attention', 8, 0.02, 0.01, 0.03, 4, 0.03)
    one_side = found._replace(pairs=pd.DataFrame([pair], columns=[*PAIR]))
    one_side = one_side._replace(arms=(attention, dataclasses.replace(conv, against=('attention',)), resnet))
    both_sides = one_side._replace(arms=(dataclasses.replace(attention, against=('conv',)), *one_side.arms[1:]))
    assert '(a pair that no choice of coordinates changes counts once).' in ' '.join(report.notes(one_side))
    said = '(a pair that no choice of coordinates changes, or that both arms name, counts once).'
    assert said in ' '.join(report.notes(both_sides))


def changed(found, label, result=None, **fields):
    """`found`, where the arm of that label has other fields, and its runs another result."""

    def change(arm):
        of_arm = [dataclasses.replace(run, result=dataclasses.replace(run.result, **result or {})) for run in arm.runs]
        return dataclasses.replace(arm, runs=tuple(of_arm), **fields) if arm.label == label else arm

    return found._replace(arms=tuple(map(change, found.arms)))


def warnings_of(lines):
    return [line for line in lines if line.startswith('Warning')]


def test_what_was_tried_for_tuned_arms_is_said_as_under_the_table(found):
    tried = tuple(Tried((rate,), accuracy) for rate, accuracy in ((0.1, 0.5), (0.2, 0.7)))
    tuned = changed(found, 'attention', tuning=Tuning(('train.learning_rate',), tried, 1))
    lines = report.notes(tuned)
    assert 'attention: 0.2, at an end of the range, out of 0.1 (50.00%), 0.2 (70.00%).' in ' '.join(lines)
    assert 'Warning: more settings were tried for some arms than for others.' in lines
    assert not any('tried' in line for line in report.notes(found))


def test_widths_that_were_solved_are_said_as_under_the_table(found):
    solved = {'width': {'embed_dim': 52}, 'reference': ('params', 138_890), 'params': 139_446}
    said = 'Widths were computed to match a reference arm. conv: embed_dim 52 (reference 138,890 params; +0.4%).'
    assert said in report.notes(changed(found, 'conv', solved))
    assert not any('Widths' in line for line in report.notes(found))


def test_arms_that_were_tested_on_different_data_stand_under_a_warning(found):
    assert 'different data' not in ' '.join(report.notes(found))
    other = changed(found, 'conv', {'fingerprints': {'test': 'another'}})
    assert 'Warning: the arms were tested on different data.' in report.notes(other)
    elsewhere = changed(found, 'conv', {'fingerprints': {'validation': 'another'}})
    assert 'different data' not in ' '.join(report.notes(elsewhere))


def test_a_pair_that_is_not_tested_is_explained(found):
    tested = ('extend', 'conv', 'attention', 8, 0.02, 0.01, 0.03, 4, 0.03)
    untested = ('extend', 'conv', 'attention', 12, *[float('nan')] * 3, 0, None)
    sentence = (
        'Pairs with an unfinished run, with different test images, or with fewer than two seeds in common are not '
        'tested.'
    )
    for rows, explained, said_of_p in (([tested], 0, 1), ([tested, untested], 1, 1), ([untested], 1, 0)):
        text = ' '.join(report.notes(found._replace(pairs=pd.DataFrame(rows, columns=[*PAIR]))))
        assert text.count(sentence) == explained
        assert text.count('a two-sided t-test') == text.count('one test image is taken in its place') == said_of_p


def test_what_the_table_warns_of_is_warned_of_beside_other_resolutions(copied):
    first, _, _, late, *_ = run_names(copied)
    for name, change in ((first, {'params': 7}), (late, {'git': {'commit': 'f' * 40}, 'code': None})):
        folder.write_result(copied / name, folder.read_result(copied / name) | change)
    manifest = json.loads((copied / 'sweep.json').read_text())
    manifest['runs'][0]['against'] = ['nobody']
    write_json(copied / 'sweep.json', manifest)
    under_the_table = warnings_of(tables.make_table(runs.read(copied)).notes)
    assert [any(word in line for line in under_the_table) for word in ('params', 'code', 'nobody', 'seeds')] == [
        True
    ] * 4
    beside = warnings_of(report.notes(measure.measure(copied, [8], ['extend'])))
    assert beside[: len(under_the_table)] == under_the_table


def test_an_arm_alone_needs_no_warning(copied):
    manifest = json.loads((copied / 'sweep.json').read_text())
    write_json(copied / 'sweep.json', manifest | {'runs': manifest['runs'][:SEEDS]})
    assert warnings_of(report.notes(measure.measure(copied, [8], ['extend']))) == []
