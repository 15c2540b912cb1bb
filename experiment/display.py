"""What is shown while runs train: a progress line on a terminal, plain lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from training.log import Row

SECONDS_BETWEEN_LINES = 5.0


class Display(AbstractContextManager):
    """Progress over `runs` runs; each run reports its rows.

    On a terminal it is one line that stays in place; otherwise a plain line every few seconds, so that a log file
    can be read.
    """

    def __init__(self, runs: int = 1):
        self.runs, self.done, self.label = runs, 0.0, ''
        self._started = self._last_line = time.monotonic()
        self._terminal = Console(stderr=True).is_terminal
        self._validation = ''
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn('{task.percentage:>3.0f}%'),
            TextColumn('{task.fields[text]}', markup=False),
            TimeElapsedColumn(),
            TextColumn('ETA {task.fields[eta]}'),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task('', total=runs, text='starting', eta='-:--')

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
        self._show(f'{label} · compiling' if label else 'compiling')

    def row(self, row: Row, steps: int) -> None:
        """A run logged a row."""
        if 'validation_accuracy' in row:
            self._validation = f' · validation {row["validation_accuracy"]:.1%}'
            return
        step = int(row['step'])
        text = (
            f'step {step:,}/{steps:,} · loss {row["train_loss"]:.3f} · accuracy {row["train_accuracy"]:.1%}'
            f'{self._validation} · {row["images_per_second"]:,.0f} images/s'
        )
        self._show(f'{self.label} · {text}' if self.label else text, step / steps, last=step == steps)

    def end(self) -> None:
        """A run ended, however it did."""
        self.done += 1

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._terminal:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show(self, text: str, share: float = 0.0, last: bool = False) -> None:
        position = self.done + share
        eta = self._eta(position)
        if self.runs > 1:
            text = f'run {int(self.done) + 1}/{self.runs} · {text}'
        if self._terminal:
            self._bar.update(self._task, completed=position, text=text, eta=eta)
        elif last or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f'{text} · ETA {eta}', file=sys.stderr, flush=True)

    def _eta(self, position: float) -> str:
        elapsed = time.monotonic() - self._started
        if position <= 0:
            return '-:--'
        minutes, seconds = divmod(round(elapsed * (self.runs - position) / position), 60)
        hours, minutes = divmod(minutes, 60)
        return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
