"""What may stand as a number in a file that anyone may have written."""

import math
from typing import Any


def is_integer(value: Any) -> bool:
    """A whole number of at most 64 bits: what leaves them is no count of anything here, and no float either."""
    # bool is an int in Python.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def is_number(value: Any) -> bool:
    """A whole number of at most 64 bits, or a finite float."""
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))
