"""Numbers and lists in words, alike in every table, note and figure."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.statistics import SIGNIFICANCE
from configs.errors import ConfigError
from files.text import clean

NONE = '-'  # a number that is not there
MOST_WARNINGS = 20  # under a table
LONGEST_LABEL = 60  # characters that a figure has room for


def number(value: Any, form: str, unit: int | float = 1) -> str:
    """`value * unit` in a format, or NONE where there is no value."""
    return NONE if pd.isna(value) else format(value * unit, form)


def percent(mean: float, low: float, high: float, form: str = '.2f') -> str:
    """A fraction in percent with the half-width of its interval, where it has one: `97.00 ± 2.48`.

    Both in the same format; the half-width has no sign.
    """
    if pd.isna(mean):
        return NONE
    half = '' if pd.isna(low) else f' ± {(high - low) * 50:{form.removeprefix("+")}}'
    return f'{100 * mean:{form.replace(".", "z.")}}{half}'  # z: no -0.00


def p_value(value: float | None, named: bool = False) -> str:
    """`0.012`, or `< 0.001`; `named`, `p = 0.012` or `p < 0.001`. Never rounded to the other side of SIGNIFICANCE."""
    if pd.isna(value):
        return NONE
    digits = next(digits for digits in range(3, 17) if (round(value, digits) > SIGNIFICANCE) == (value > SIGNIFICANCE))
    sign, shown = ('< ', '0.001') if value < 0.001 else ('= ' if named else '', f'{value:.{digits}f}')
    return f'{"p " if named else ""}{sign}{shown}'


def span(values: Iterable[int | float | None], form: str = ',d') -> str:
    """`506`, or `506 to 1,012` where numbers differ."""
    known = [value for value in values if value is not None]
    if not known:
        return 'an unknown number of'
    low, high = format(min(known), form), format(max(known), form)
    return low if low == high else f'{low} to {high}'


def short_commit(sha: str | None, dirty: bool) -> str:
    """A commit's first digits, and whether files had been changed since."""
    return f'{(sha or "unknown")[:10]}{" (with uncommitted changes)" if dirty else ""}'


def listed(values: Iterable[Any], separator: str = ', ', most: int = 10) -> str:
    """The first few, and how many more there are."""
    texts = [str(value) for value in values]
    return separator.join(texts[:most]) + (f' and {len(texts) - most} more' if len(texts) > most else '')


def listed_labels(texts: Iterable[str]) -> str:
    """The first few labels, as far as a figure has room for them, and how many more there are."""
    return listed(map(shortened, texts), most=5)


def shortened(text: str, longest: int = LONGEST_LABEL) -> str:
    """A label, as far as a figure has room for it."""
    return text if len(text) <= longest else text[: longest - 1] + '…'


def capped(lines: Sequence[str]) -> list[str]:
    """The first lines, and in one more how many there are beside them."""
    return [*lines[:MOST_WARNINGS], *([f'{more} more like these'] if (more := len(lines) - MOST_WARNINGS) > 0 else [])]


def why(error: Exception) -> str:
    """What stopped something, in a line: our own errors say it whole, of others their kind is told."""
    return clean(str(error) if isinstance(error, ConfigError) else f'{type(error).__name__}: {error}')


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of first sight."""
    return list(dict.fromkeys(values))
