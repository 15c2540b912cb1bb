"""The statistics on cases that are computed by hand; tests/reliability/test_statistics.py has their rates."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis import statistics


def p_value_of(first, second, resolution=0.0):
    return statistics.paired_difference(first, second, resolution).p_value


def test_interval_of_a_hand_computed_example():
    # Mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.302653.
    interval = statistics.mean_and_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert interval.count == 3


@pytest.mark.parametrize('values', [[0.9], [0.9, 0.9], [0.1 + 0.2, 0.3, 0.3]])
def test_no_interval_without_spread(values):
    interval = statistics.mean_and_interval(values)
    assert interval.mean == pytest.approx(values[0])
    assert math.isnan(interval.low)
    assert math.isnan(interval.half_width)


@pytest.mark.parametrize(
    'values', [([0.9, 0.8, 0.7], [0.6, 0.4, 0.5]), ([0.9], [0.8]), ([0.5, 0.5], [0.5, 0.5]), ([], [])]
)
@pytest.mark.parametrize('resolution', [0.0, 0.01])
def test_a_difference_reversed_is_that_of_the_other_from_the_one(values, resolution):
    there, back = (statistics.paired_difference(*pair, resolution) for pair in (values, values[::-1]))
    np.testing.assert_allclose(there.reversed.interval, back.interval)
    assert there.reversed.p_value == back.p_value
    assert math.copysign(1, there.reversed.interval.mean) == math.copysign(1, back.interval.mean)  # no -0.0


def test_nothing_has_no_mean():
    assert math.isnan(statistics.mean_and_interval([]).mean)


def test_survivors_have_a_mean_and_no_interval():
    interval = statistics.mean_and_interval([1.0, 2.0, 3.0], complete=False)
    assert (interval.mean, interval.count) == (2.0, 3)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match='finite'):
        statistics.mean_and_interval([0.5, value])
    with pytest.raises(ValueError, match='finite'):
        p_value_of([0.5, value], [0.5, 0.6])


@pytest.mark.parametrize('count', [2, 3, 5])
@pytest.mark.parametrize('images', [50, 360])
@pytest.mark.parametrize('resolution_is_known', [True, False])
def test_false_positive_rate_holds_for_accuracies_in_steps_of_one_image(count, images, resolution_is_known):
    draws = np.random.default_rng(count).binomial(images, 0.97, size=(1000, 2, count)) / images
    resolution = resolution_is_known / images
    rate = np.mean([p_value_of(*pair, resolution) < 0.05 for pair in draws])
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))


def test_paired_test_sees_through_what_seeds_share():
    # A seed moves both arms by 5 points, the arms differ by half a point: only a paired test can tell.
    generator = np.random.default_rng(0)
    shared = generator.normal(0.8, 0.05, size=8)
    noise = generator.normal(0, 0.001, size=8)
    assert p_value_of(shared, shared + 0.005 + noise) < 0.001


def test_paired_test_of_a_hand_computed_example():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom; p = 1 - t / sqrt(t^2 + 2).
    t = 2 * math.sqrt(3)
    p_value = p_value_of([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_equal_arms_have_p_one():
    assert p_value_of([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]) == 1.0
    assert p_value_of([0.1 + 0.2, 0.6], [0.3, 0.1 + 0.5]) == 1.0


@pytest.mark.parametrize('count', [2, 3, 6])
def test_equal_differences_fall_back_on_the_sign_flip_test(count):
    # On paper every difference is 0.01; in floating point they differ in the last bits, and t would report 1e-15.
    first = [0.97 - 0.01 * step for step in range(count)]
    second = [0.96 - 0.01 * step for step in range(count)]
    assert p_value_of(first, second) == 2.0 ** (1 - count)
    narrow = np.float32(first).astype(float), np.float32(second).astype(float)
    assert p_value_of(*narrow) == 2.0 ** (1 - count)


def test_equal_differences_of_a_known_step_are_judged_by_their_size():
    first, second, third = [0.97, 0.96, 0.98], [0.58, 0.57, 0.59], [0.96, 0.95, 0.97]
    assert p_value_of(first, second, resolution=0.01) < 0.001
    # One image apart in each of three seeds: t = 1 / (1 / sqrt(3)), with 2 degrees of freedom.
    t = math.sqrt(3)
    p_value = p_value_of(first, third, resolution=0.01)
    assert p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_fewer_than_two_pairs_give_no_p_value():
    assert p_value_of([], []) is None
    assert p_value_of([0.9], [0.1]) is None


@pytest.mark.parametrize('resolution', [0.0, 1e-3, 0.1])
def test_an_interval_leaves_zero_out_where_the_test_does(resolution):
    for draw in np.random.default_rng(0).normal(0.02, 0.02, size=(100, 2, 4)):
        (_, low, high, _), p_value = statistics.paired_difference(*draw, resolution)
        assert (low > 0 or high < 0) == (p_value < 0.05)


def test_differences_spread_by_one_step_at_least():
    # t(0.975, 2) = 4.302653; the spread 0.01 is the step's.
    for second in ([0.96, 0.95, 0.97], [0.961, 0.95, 0.97]):
        interval, _ = statistics.paired_difference([0.97, 0.96, 0.98], second, resolution=0.01)
        assert interval.half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    wide, _ = statistics.paired_difference([0.97, 0.96, 0.98], [0.9, 0.8, 0.7], resolution=0.01)
    assert wide == pytest.approx(statistics.mean_and_interval([0.07, 0.16, 0.28]))


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match='pairs'):
        p_value_of([0.1, 0.2], [0.1])


def test_holm_on_a_hand_computed_example():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1 raised to its predecessor's 0.06.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize('p_value', [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(p_value):
    with pytest.raises(ValueError, match='p-values'):
        statistics.holm([0.5, p_value])


def test_marks_the_best_and_its_equals():
    comparison = statistics.indistinguishable_from_best(
        {
            'poor': {0: 0.58, 1: 0.55, 2: 0.57, 3: 0.58},
            'best': {0: 0.97, 1: 0.96, 2: 0.98, 3: 0.97},
            'close': {0: 0.96, 1: 0.97, 2: 0.97, 3: 0.965},
        }
    )
    assert comparison.best == 'best'
    assert comparison.indistinguishable == ('close',)
    assert comparison.differences['poor'].p_value < 0.001
    assert comparison.differences.keys() == {'poor', 'close'}


def test_the_difference_to_the_best_is_of_the_pairs_that_are_tested():
    values = {'best': {0: 0.9, 1: 0.8, 2: 0.97}, 'other': {1: 0.6, 0: 0.8, 2: 0.67, 9: 0.1}, 'alone': {7: 0.5, 8: 0.6}}
    differences = statistics.indistinguishable_from_best(values).differences
    assert differences.keys() == {'other'}
    assert differences['other'].interval == pytest.approx(statistics.mean_and_interval([-0.1, -0.2, -0.3]))


def test_named_pairs_are_tested_over_their_seeds_and_corrected_together():
    values = {'a': {0: 0.9, 1: 0.8, 2: 0.97}, 'b': {1: 0.6, 0: 0.8, 2: 0.67, 9: 0.1}, 'c': {0: 0.91, 1: 0.83, 2: 0.9}}
    pairs = [('b', 'a'), ('a', 'c'), ('c', 'b')]
    found = statistics.differences(values, pairs, [0.0] * 3)
    assert found[0].interval == pytest.approx(statistics.mean_and_interval([-0.1, -0.2, -0.3]))
    alone = [statistics.differences(values, [pair], [0.0])[0].p_value for pair in pairs]
    assert alone[0] == p_value_of([0.8, 0.6, 0.67], [0.9, 0.8, 0.97])
    assert [one.p_value for one in found] == statistics.holm(alone)


def test_pairs_that_cannot_be_tested_count_in_no_correction():
    values = {'a': {0: 0.9, 1: 0.8}, 'b': {0: 0.7, 1: 0.65}, 'once': {1: 0.5}, 'apart': {5: 0.9, 6: 0.8}}
    pairs = [('a', 'b'), ('once', 'a'), ('apart', 'a'), ('b', 'left'), ('left', 'b')]
    values['left'] = {0: 1.0, 1: 1.0}
    tested, once, apart, *left = statistics.differences(values, pairs, [0.0, 0.0, 0.0, None, None])
    assert tested.p_value == p_value_of([0.9, 0.8], [0.7, 0.65])
    assert once.interval.mean == pytest.approx(-0.3)
    assert math.isnan(once.interval.low)
    assert apart.interval.count == 0
    for one in (once, apart, *left):
        assert one.p_value is None
    # The survivors of an arm are no fair sample of it: not even a mean is told.
    assert all(math.isnan(one.interval.mean) for one in (apart, *left))


def test_sampling_error_of_a_hand_computed_example():
    # sqrt(0.9 x 0.1 / 900) = 0.01, and next to nothing beside it.
    assert statistics.sampling_half_width(0.9, 900) == pytest.approx(0.0196, abs=1e-4)


@pytest.mark.parametrize(('right', 'images'), [(359, 359), (0, 20), (350, 359), (7, 10)])
def test_sampling_error_is_wilson_s(right, images):
    interval = stats.binomtest(right, images).proportion_ci(method='wilson')
    assert statistics.sampling_half_width(right / images, images) == pytest.approx((interval.high - interval.low) / 2)
    assert statistics.sampling_half_width(right / images, images) > 0


def test_pairs_common_seeds_only():
    values = {'best': {0: 0.9, 1: 0.8, 2: 0.95}, 'other': {2: 0.9, 0: 0.83, 7: 0.1}}
    expected = p_value_of([0.9, 0.95], [0.83, 0.9])
    assert statistics.indistinguishable_from_best(values).differences['other'].p_value == expected


def test_an_arm_that_cannot_be_tested_is_neither_marked_nor_different():
    values = {'lucky': {0: 0.99}, 'best': {0: 0.9, 1: 0.91}, 'apart': {5: 0.9, 6: 0.9}}
    comparison = statistics.indistinguishable_from_best(values)
    assert comparison == (None, (), {})  # it would be best of itself


def test_an_arm_of_one_seed_takes_the_mark_from_nobody():
    values = {'lucky': {0: 0.99}, 'best': {0: 0.9, 1: 0.91}, 'other': {0: 0.8, 1: 0.82}}
    comparison = statistics.indistinguishable_from_best(values)
    assert comparison.best == 'best'
    assert comparison.differences.keys() == {'other'}


def test_single_seeds_crown_no_best():
    comparison = statistics.indistinguishable_from_best({'a': {0: 0.9}, 'b': {0: 0.1}, 'c': {}})
    assert comparison == (None, (), {})


def test_an_incomplete_arm_never_wins():
    values = {'survivors': {0: 0.99, 1: 0.98}, 'whole': {0: 0.9, 1: 0.91}, 'other': {0: 0.91, 1: 0.9}}
    comparison = statistics.indistinguishable_from_best(values, incomplete=['survivors'])
    assert comparison.best == 'whole'
    assert comparison.indistinguishable == ('other',)
    assert comparison.differences.keys() == {'other'}


def test_means_that_tie_but_for_rounding_go_to_the_first():
    values = {'first': {0: 0.3, 1: 0.6}, 'second': {0: 0.1 + 0.2, 1: 0.6}}
    assert np.mean([0.1 + 0.2, 0.6]) > np.mean([0.3, 0.6])
    best, alike, differences = statistics.indistinguishable_from_best(values)
    assert (best, alike) == ('first', ('second',))
    assert differences['second'].p_value == 1.0
    assert abs(differences['second'].interval.mean) < 1e-12
    assert math.isnan(differences['second'].interval.low)


def test_an_arm_as_good_as_the_best_keeps_its_mark():
    """Eleven arms that are the same arm: each stays best or marked in at least 95% of tables."""
    generator = np.random.default_rng(0)
    lost = 0
    for draw in generator.normal(size=(150, 11, 3)):
        values = {arm: dict(enumerate(scores)) for arm, scores in enumerate(draw)}
        lost += 10 - len(statistics.indistinguishable_from_best(values).indistinguishable)
    assert lost / (150 * 11) <= 0.05


def test_two_equal_arms_are_called_different_at_the_nominal_rate():
    draws = np.random.default_rng(1).normal(size=(1500, 2, 3))
    marked = [
        statistics.indistinguishable_from_best({arm: dict(enumerate(draw[arm])) for arm in (0, 1)}).indistinguishable
        for draw in draws
    ]
    assert np.mean([not arms for arms in marked]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(draws))
