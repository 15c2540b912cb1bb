import pytest
from ml_collections import ConfigDict

from files.text import LONGEST_TEXT, clean, shown


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('a\n\tb  c', 'a b c'), ('\x1b[2J\x07', '[2J'), ('\u202eevil', 'evil'), ('\ud800', ''), ('é ± 日本', 'é ± 日本')],
)
def test_clean_leaves_one_printable_line(text, expected):
    assert clean(text) == expected


def test_clean_cuts_what_is_long():
    assert len(clean('x' * 10_000_000)) == LONGEST_TEXT


@pytest.mark.parametrize('value', ['x' * 10_000, 'a\nb\x1b[2J\u202e', 3, None, [1] * 1000, ConfigDict({'a': {'b': 1}})])
def test_what_is_shown_is_one_short_printable_line(value):
    assert shown(value).isprintable()
    assert len(shown(value)) <= 80


def test_what_is_short_is_shown_whole():
    assert shown("it's  so") == '"it\'s  so"'
