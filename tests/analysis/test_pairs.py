"""Pairs are one family of tests, in which a hypothesis counts once."""

import math

import pytest

from analysis import pairs, statistics
from analysis.reading import runs
from tests.analysis.arms import BEST, CLOSE, POOR

SCORES = [dict(enumerate(accuracies)) for accuracies in (POOR, BEST, CLOSE)]
WORSE = [{seed: accuracy - 0.1 * seed for seed, accuracy in of_arm.items()} for of_arm in SCORES]


@pytest.fixture
def arms(three_arms):
    """arms(poor=[...], best=[...]): as they were read, and whom each is to be compared with."""

    def read(**asked):
        for row in three_arms.listed:
            row['against'] = asked.get(row['arm'], [])
        return runs.read(three_arms.write()).arms

    return read


def compare(arms, scores):
    return pairs.compare(arms, pairs.test_sets(arms, 'test'), scores)


@pytest.mark.parametrize('scores', [{'': SCORES}, {'one': SCORES, 'other': WORSE}, {'one': SCORES, 'alike': SCORES}])
def test_two_arms_that_name_each_other_are_tested_once(arms, scores):
    named_once = compare(arms(poor=['close'], best=['close']), scores)
    both = compare(arms(poor=['close'], best=['close'], close=['best', 'poor']), scores)
    rows = {(row.condition, row.arm, row.against): row for row in both.itertuples()}
    assert len(rows) == 4 * len(scores)
    for row in named_once.itertuples():
        there, back = rows[row.condition, row.arm, row.against], rows[row.condition, row.against, row.arm]
        assert there.p_value == back.p_value == row.p_value
        assert (there.difference, there.low, there.high, there.n) == (row.difference, row.low, row.high, row.n)
        assert (back.difference, back.low, back.high, back.n) == (-row.difference, -row.high, -row.low, row.n)


def test_what_a_pair_says_does_not_depend_on_who_names_the_other(arms):
    (there,) = compare(arms(poor=['best']), {'': SCORES}).itertuples()
    (back,) = compare(arms(best=['poor']), {'': SCORES}).itertuples()
    assert there.p_value == back.p_value == statistics.paired_difference(POOR, BEST, 1e-3).p_value
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))


def test_the_step_of_a_pair_is_an_image_of_its_own_test_set(workdir):
    """Whatever the other pairs were tested on: equal differences are judged by its size."""
    sizes = {'digits': 1000, 'cifar10': 10}
    for data, images in sizes.items():
        for arm, depth, accuracy in (('one', 4, 0.5), ('other', 5, 0.4)):
            for seed in range(3):
                config = {'data.name': data, 'model.depth': depth}
                workdir.add(f'{arm} {data}', seed, accuracy, config, {'test.examples': images})
                workdir.listed[-1]['against'] = [f'other {data}'] if arm == 'one' else []
    read = runs.read(workdir.write()).arms
    rows = compare(read, {'': [{run.seed: run.result.accuracy for run in arm.runs} for arm in read]})
    alone = [statistics.paired_difference([0.5] * 3, [0.4] * 3, 1 / images).p_value for images in sizes.values()]
    assert rows['p_value'].tolist() == pytest.approx(statistics.holm(alone))


def test_tests_are_counted_as_they_are_corrected(arms):
    both = arms(poor=['best'], best=['poor', 'close'])
    p_values = compare(both, {'': SCORES})['p_value']
    assert pairs.asked_by_both(both)
    assert pairs.tested(both, p_values) == 2
    assert pairs.tested(both, [0.1, 0.1, None]) == pairs.tested(both, [math.nan, math.nan, 0.1]) == 1
    once = arms(poor=['best'], best=['close'])
    assert not pairs.asked_by_both(once)
    assert pairs.tested(once, compare(once, {'': SCORES})['p_value']) == 2
