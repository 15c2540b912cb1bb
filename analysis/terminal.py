"""Tables and notes on a terminal, or whole lines elsewhere; labels are shown as they are, never read as markup."""

import io
import sys
from collections.abc import Iterable

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from analysis import output

LABELS = ('Arm', 'Against')  # columns of text
WRAPPED = (*LABELS, 'n')  # on a narrow terminal; numbers never are


def alignment(cells: pd.DataFrame, texts: str = 'left', numbers: str = 'right') -> list[str]:
    """How each column of a table stands: `texts` or `numbers`."""
    return [texts if name in LABELS else numbers for name in cells]


class Terminal:
    """A stream, standard output by default."""

    def __init__(self, stream: io.TextIOBase | None = None):
        self._console = Console(file=stream or sys.stdout, highlight=False)

    def grid(self, cells: pd.DataFrame, bold: Iterable[bool] = ()) -> None:
        """Prints the cells aligned; the rows that are to be `bold` are so where the stream can show it."""
        console = self._console
        grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name, justify in zip(cells, alignment(cells), strict=True):
            grid.add_column(name, justify=justify, no_wrap=name not in WRAPPED, overflow='fold', vertical='bottom')
        styles = ['bold' if is_bold else None for is_bold in bold] or [None] * len(cells)
        for style, row in zip(styles, cells.itertuples(index=False), strict=True):
            grid.add_row(*map(self._text, row), style=style)
        width = console.measure(grid, options=console.options.update(width=10_000)).maximum
        if not console.is_terminal:
            console.width = max(console.width, width)
        elif console.width < width:
            grid.padding = 0
        console.print(grid)

    def line(self, text: str) -> None:
        """Prints a note, which a terminal wraps."""
        self._console.print(self._text(text), soft_wrap=not self._console.is_terminal)

    def _text(self, text: str) -> Text:
        # As Text, it is never read as rich's markup.
        return Text(output.printable(text, self._console.encoding))
