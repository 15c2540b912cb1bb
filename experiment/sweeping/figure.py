"""What a config file says of its sweep's figure: its axis, its panels, and where each arm stands.

Both who writes sweep.json and who reads it, and distrusts it, check by these.
"""

from typing import Any, NamedTuple

from files.text import clean, shown
from files.values import is_number

SCALES = ('linear', 'log', 'category')  # of a figure's horizontal axis
QUANTITIES = ('test_accuracy', 'images_per_second')  # what a figure's panels may show


class Figure(NamedTuple):
    """What a sweep's figure shows. An arm is a point on it."""

    x: str  # what the horizontal axis is, with its unit
    scale: str  # one of SCALES
    quantities: tuple[str, ...]  # of QUANTITIES: a panel each


class Place(NamedTuple):
    """Where an arm stands in the sweep's figure."""

    curve: str  # the line that it belongs to
    x: float | str  # a text on a categorical axis


def check_figure(value: Any) -> Figure:
    """The figure that a config file's FIGURE, or sweep.json, describes. Raises ValueError, naming what would do."""
    if not isinstance(value, dict):
        raise ValueError(f'is {shown(value)}; a dict with x, scale and quantities would do')
    unknown = [name for name in value if name not in Figure._fields]
    if unknown:
        raise ValueError(f'has {shown(unknown[0])}; {", ".join(Figure._fields)} would do')
    x, scale, quantities = value.get('x'), value.get('scale', 'linear'), value.get('quantities', QUANTITIES[:1])
    if not (isinstance(x, str) and clean(x)):
        raise ValueError(f'has x={shown(x)}; a text, what the axis is, would do')
    if scale not in SCALES:
        raise ValueError(f'has scale={shown(scale)}; one of {", ".join(SCALES)} would do')
    known = isinstance(quantities, list | tuple) and all(name in QUANTITIES for name in quantities)
    if not known or len(set(quantities)) != len(quantities) or not quantities:
        raise ValueError(f'has quantities={shown(quantities)}; some of {", ".join(QUANTITIES)}, each once, would do')
    return Figure(clean(x), scale, tuple(quantities))


def check_place(curve: Any, x: Any, scale: str) -> Place | None:
    """Where an arm with this curve and x stands; None when it has neither. Raises ValueError, naming what would do."""
    if curve is None and x is None:
        return None
    if not (isinstance(curve, str) and clean(curve)):
        raise ValueError(f'has curve={shown(curve)}; the name of a line would do, beside x')
    if scale == 'category':
        if not is_number(x) and not (isinstance(x, str) and clean(x)):
            raise ValueError(f'has x={shown(x)}; a text or a number would do')
        return Place(clean(curve), clean(str(x)))
    if not is_number(x) or (scale == 'log' and x <= 0):
        wanted = 'a number above 0' if scale == 'log' else 'a number'
        raise ValueError(f"has x={shown(x)}; {wanted} would do, or the scale 'category'")
    return Place(clean(curve), float(x))
