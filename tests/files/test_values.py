import math

import pytest

from files.values import is_integer, is_number

INTEGERS = [0, -1, 2**63 - 1, -(2**63) + 1]
FLOATS = [0.0, -1.5, 1e308, 5e-324]
NEITHER = [True, False, None, '1', 2**63, -(2**63), 10**400, math.nan, math.inf, -math.inf, [1], {'a': 1}]


@pytest.mark.parametrize('value', [*INTEGERS, *FLOATS, *NEITHER])
def test_what_is_a_number(value):
    assert is_integer(value) == any(value is one for one in INTEGERS)
    assert is_number(value) == any(value is one for one in [*INTEGERS, *FLOATS])
