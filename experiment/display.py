"""What is shown while runs train: a progress line on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from training.recording.log import Row

SECONDS_BETWEEN_LINES = 5.0


class Display(AbstractContextManager):
    """Progress over `runs` runs; whoever trains tells it through a slot of their own, `of(whom)`.

    On a terminal it is one line that stays in place; otherwise a plain line every few seconds, so that a log file
    can be read.
    """

    def __init__(self, runs: int = 1, steps: int | None = None):
        """`steps` are those of all runs, so that a long run counts for more than a short one; None: one each."""
        self.runs, self.done, self.failed = runs, 0, 0
        self.steps, self.passed = runs if steps is None else steps, 0  # in all, and of runs that have ended
        self.best = 0.0  # accuracy on validation of any run so far
        self._slots: dict[int, Slot] = {}
        self._paced_from: tuple[float, float] | None = None  # time and position of the first row
        self._last_line = time.monotonic()
        self._terminal = Console(stderr=True).is_terminal
        # On a narrow terminal the label gives way; the numbers do not.
        self._bar = Progress(
            BarColumn(bar_width=8),
            TextColumn('{task.percentage:>3.0f}% ETA {task.fields[eta]}'),
            TextColumn('{task.fields[text]}', markup=False),
            TextColumn('{task.fields[label]}', markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=Console(stderr=True),
            expand=True,
        )
        self._task = self._bar.add_task('', total=self.steps, text='starting', label='', eta='-:--')

    def __enter__(self) -> 'Display':
        if self._terminal:
            self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        with contextlib.suppress(OSError):
            if self._terminal:
                self._bar.stop()

    def of(self, whom: int) -> 'Slot':
        """The slot of a process, or of whatever trains one thing at a time."""
        return self._slots.setdefault(whom, Slot(self))

    def note(self, text: str) -> None:
        """A line that stays."""
        with contextlib.suppress(OSError):  # nobody may read any more, and training goes on
            if self._terminal:
                self._bar.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=sys.stderr, flush=True)

    def show(self, text: str, details: str, last: bool = False) -> None:
        """What one slot has to say, beside how far they all are."""
        position = self.passed + sum(slot.share * slot.runs * slot.steps for slot in self._slots.values())
        eta = self._eta(position)
        if self.runs > 1:
            failed = f', {self.failed} failed' if self.failed else ''
            text, details = f'{self.done}/{self.runs} runs{failed} · {text}', self._beside(details)
        with contextlib.suppress(OSError):
            if self._terminal:
                self._bar.update(self._task, completed=position, text=text, label=details, eta=eta)
            elif last or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                print(' · '.join(filter(None, (f'ETA {eta}', text, details))), file=sys.stderr, flush=True)

    def _beside(self, details: str) -> str:
        """The details, behind how many runs are under way, and the best accuracy on validation so far."""
        running = sum(slot.runs for slot in self._slots.values() if slot.running)
        best = f'best {self.best:.1%}' if self.best else ''
        return ' · '.join(filter(None, (f'{running} running' if running else '', best, details)))

    def _eta(self, position: float) -> str:
        """What is left, at the pace since the first row: a resumed run did not make its first steps just now."""
        now = time.monotonic()
        if self._paced_from is None and position > 0:
            self._paced_from = now, position
        if self._paced_from is None or position <= self._paced_from[1]:
            return '-:--'
        since, start = self._paced_from
        minutes, seconds = divmod(round((now - since) * (self.steps - position) / (position - start)), 60)
        hours, minutes = divmod(minutes, 60)
        return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


class Slot:
    """Where one process stands: the runs that it trains together, and their share of the way."""

    def __init__(self, display: Display):
        self._display, self._label, self._validation = display, '', ''
        self.runs, self.steps, self.share, self.running = 1, 1, 0.0, False

    def begin(self, label: str, runs: int = 1, steps: int = 1) -> None:
        """Runs of so many steps each start; until their first row they compile."""
        self._label, self._validation, self.runs, self.steps, self.share = label, '', runs, steps, 0.0
        self.running = True
        self._display.show('compiling', label)

    def row(self, row: Row, steps: int) -> None:
        """A run logged a row."""
        if 'validation_accuracy' in row:
            # With its step, since a line's loss may be of a later one.
            self._validation = f'validation {row["validation_accuracy"]:.1%} at {int(row["step"]):,}'
            self._display.best = max(self._display.best, row['validation_accuracy'])
            return
        step = int(row['step'])
        self.share = step / steps
        text = f'loss {row["train_loss"]:.3f} · accuracy {row["train_accuracy"]:.1%}'
        text = f'{text} · {self.runs * row["images_per_second"]:,.0f} images/s'
        details = (f'step {step:,}/{steps:,}', self._validation, self._label)
        self._display.show(text, ' · '.join(filter(None, details)), last=step == steps)

    def end(self, runs: int = 1, steps: int | None = None) -> None:
        """`runs` of them ended, however they did; of `steps` each where they are not those that began."""
        self._display.done += runs
        self._display.passed += runs * (self.steps if steps is None else steps)
        self.share, self.running = 0.0, False
        if 1 < self._display.runs == self._display.done:
            self._display.show('that was the last', '', last=True)

    def note(self, text: str, failed: bool = True) -> None:
        """A line that stays: a run went wrong, or was only cut short."""
        self._display.failed += failed
        self._display.note(text)
