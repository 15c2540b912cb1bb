"""What is shown while runs train: a progress line on a terminal, plain lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from training.log import Row

SECONDS_BETWEEN_LINES = 5.0


class Display(AbstractContextManager):
    """Progress over `runs` runs; each run reports its rows.

    On a terminal it is one line that stays in place; otherwise a plain line every few seconds, so that a log file
    can be read.
    """

    def __init__(self, runs: int = 1):
        self.runs, self.done, self.label = runs, 0, ''
        self._paced_from: tuple[float, float] | None = None  # time and position of the first row
        self._last_line = time.monotonic()
        self._terminal = Console(stderr=True).is_terminal
        self._validation = ''
        # On a narrow terminal the label gives way; the numbers do not.
        self._bar = Progress(
            BarColumn(bar_width=8),
            TextColumn('{task.percentage:>3.0f}% ETA {task.fields[eta]}'),
            TextColumn('{task.fields[text]}', markup=False),
            TextColumn('{task.fields[label]}', markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._bar.add_task('', total=runs, text='starting', label='', eta='-:--')

    def __enter__(self) -> 'Display':
        if self._terminal:
            self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        if self._terminal:
            self._bar.stop()

    def begin(self, label: str) -> None:
        """A run starts; until its first row it compiles."""
        self.label, self._validation = label, ''
        self._show('compiling', label)

    def row(self, row: Row, steps: int) -> None:
        """A run logged a row."""
        if 'validation_accuracy' in row:
            self._validation = f'validation {row["validation_accuracy"]:.1%}'
            return
        step = int(row['step'])
        text = f'loss {row["train_loss"]:.3f} · accuracy {row["train_accuracy"]:.1%}'
        text = f'{text} · {row["images_per_second"]:,.0f} images/s'
        details = (f'step {step:,}/{steps:,}', self._validation, self.label)
        self._show(text, ' · '.join(filter(None, details)), step / steps, last=step == steps)

    def end(self) -> None:
        """A run ended, however it did."""
        self.done += 1

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._terminal:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show(self, text: str, details: str, share: float = 0.0, last: bool = False) -> None:
        position = self.done + share
        eta = self._eta(position)
        if self.runs > 1:
            text = f'run {self.done + 1}/{self.runs} · {text}'
        if self._terminal:
            self._bar.update(self._task, completed=position, text=text, label=details, eta=eta)
        elif last or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f'ETA {eta} · {text} · {details}', file=sys.stderr, flush=True)

    def _eta(self, position: float) -> str:
        """What is left, at the pace since the first row: a resumed run did not make its first steps just now."""
        now = time.monotonic()
        if self._paced_from is None and position > 0:
            self._paced_from = now, position
        if self._paced_from is None or position <= self._paced_from[1]:
            return '-:--'
        since, start = self._paced_from
        minutes, seconds = divmod(round((now - since) * (self.runs - position) / (position - start)), 60)
        hours, minutes = divmod(minutes, 60)
        return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
