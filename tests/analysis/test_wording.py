import numpy as np
import pytest

from analysis.wording import listed, p_value, percent


@pytest.mark.parametrize(
    ('numbers', 'form', 'text'),
    [
        ((0.97, 0.9452, 0.9948), '.2f', '97.00 ± 2.48'),
        ((0.97, 0.9452, 0.9948), '.1f', '97.0 ± 2.5'),
        ((0.97, 0.9452, 0.9948), '+.2f', '+97.00 ± 2.48'),
        ((-0.01, -0.02, 0.0), '+.2f', '-1.00 ± 1.00'),
        ((-1e-9, np.nan, np.nan), '.2f', '0.00'),
        ((-1e-9, np.nan, np.nan), '+.1f', '+0.0'),
        ((0.5, np.nan, np.nan), '.1f', '50.0'),
        ((np.nan, np.nan, np.nan), '.1f', '-'),
    ],
)
def test_percent_has_one_format_for_the_mean_and_its_interval(numbers, form, text):
    assert percent(*numbers, form) == text


@pytest.mark.parametrize(
    ('value', 'text', 'named'),
    [
        (0.0123, '0.012', 'p = 0.012'),
        (0.0009, '< 0.001', 'p < 0.001'),
        (1.0, '1.000', 'p = 1.000'),
        (None, '-', '-'),
        (0.05, '0.050', 'p = 0.050'),
        (0.04996, '0.050', 'p = 0.050'),
        (0.0504558, '0.0505', 'p = 0.0505'),
    ],
)
def test_a_p_value_is_never_zero_nor_on_the_other_side_of_significance(value, text, named):
    assert (p_value(value), p_value(value, named=True)) == (text, named)


def test_as_many_as_there_is_room_for_are_listed_whole():
    assert listed(range(3), most=3) == '0, 1, 2'
    assert listed(range(5), most=3) == '0, 1, 2 and 2 more'
