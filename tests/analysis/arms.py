"""Arms to compare, and how their tables are read back."""

import io
import re

from analysis import formats

POOR, BEST, CLOSE = (0.58, 0.55, 0.57), (0.97, 0.96, 0.98), (0.96, 0.97, 0.975)


def as_printed(table):
    stream = io.StringIO()
    formats.print_table(table, stream)
    return stream.getvalue()


def markdown_rows(text):
    """Cells of a GitHub-flavoured table, by its own rule: a pipe parts cells unless a backslash stands before it."""
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in lines]
