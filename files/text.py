"""Text that came from a file or a command line, made fit to be shown."""

import re
import unicodedata
from typing import Any

LONGEST_TEXT = 200  # characters of a label or message that came from a file


def clean(text: str) -> str:
    """One printable line of at most LONGEST_TEXT characters.

    Whitespace runs become a space; control, format and surrogate characters (Unicode's C categories), with which
    a file could steer a terminal or reverse a line, go.
    """
    # Cut before the work too: a file may hold megabytes of one label.
    text = ' '.join(text[: 4 * LONGEST_TEXT].split())
    text = ''.join(character for character in text if not unicodedata.category(character).startswith('C'))
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + '…'


def shown(value: Any) -> str:
    """A value as Python writes it: one line, cut where it is long, and nothing in it that steers a terminal."""
    text = re.sub(r'\s*\n\s*', ' ', repr(value))  # a text has no line break as it is written, a tree of a config has
    return text if len(text) <= 80 else f'{text[:79]}…'
