"""Rows of metrics, to metrics.jsonl and to wherever else the config says."""

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from files.reading import read_lines, unreadable
from files.values import is_integer
from files.writing import write_bytes, writing
from training.recording.sinks import Row, open_sinks

METRICS = 'metrics.jsonl'

logger = logging.getLogger(__name__)


class Mark(NamedTuple):
    """How much of metrics.jsonl there was at some time, and what it was."""

    bytes: int
    sha256: str


EMPTY = Mark(0, hashlib.sha256().hexdigest())


class MetricsLog:
    """Appends rows to a run's `metrics.jsonl`, and hands them to what `config.log` asks for beside it.

    A run that goes on from a checkpoint at `step` first drops what came after its `mark`: it will write that again.
    """

    def __init__(self, folder: Path, step: int, mark: Mark, config: ConfigDict):
        self._path = folder / METRICS
        rows = _beginning(self._path, mark.bytes)
        self._bytes, self._digest = len(rows), hashlib.sha256(rows)
        if self.mark() != mark:
            raise ValueError(f'{self._path} does not begin with the rows until step {step}')
        with writing(self._path):
            if self._path.is_file() and not _last_line_is_whole(self._path):
                logger.warning('%s ends in a torn row, which is dropped; the run will write it again', self._path)
            write_bytes(self._path, rows)
            self._file = open(self._path, 'ab')  # noqa: SIM115, closed on exit
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._file)
            self._sinks = open_sinks(folder, step, config)
            opened.pop_all()

    def write(self, row: Row) -> None:
        line = json.dumps(row).encode() + b'\n'
        with writing(self._path):
            self._file.write(line)
            self._file.flush()
        self._bytes += len(line)
        self._digest.update(line)
        for sink in self._sinks:
            sink.write(row)

    def mark(self) -> Mark:
        """Of what was written until now."""
        return Mark(self._bytes, self._digest.hexdigest())

    def finish(self, scores: Row) -> None:
        """What is known at the run's end; result.json has it too, so metrics.jsonl has not."""
        for sink in self._sinks:
            sink.finish(scores)

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *error) -> None:
        with contextlib.ExitStack() as closing:
            for sink in self._sinks:
                closing.callback(sink.close)
            with writing(self._path):  # what could not be written before is tried once more
                self._file.close()


def holds(folder: Path, mark: Mark) -> bool:
    """Whether metrics.jsonl in `folder` begins with what `mark` was taken of.

    Raises:
      Damaged: it is there, and the disk cannot read it.
      StorageError: it could not be read just now.
    """
    rows = _beginning(folder / METRICS, mark.bytes)
    return Mark(len(rows), hashlib.sha256(rows).hexdigest()) == mark


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a metrics.jsonl; a torn last line, as a killed run leaves it, is left out.

    So is what is no row, of numbers by name with a step among them.
    """
    return [row for row in read_lines(path) if _is_row(row)]


def _beginning(path: Path, size: int) -> bytes:
    """The first bytes of a file, none where there is no regular one.

    Raises Damaged or StorageError where it cannot be read, or not just now.
    """
    try:
        if not size or not path.is_file():
            return b''
        with path.open('rb') as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error


def _last_line_is_whole(path: Path) -> bool:
    with path.open('rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() in (b'', b'\n')


def _is_row(row: Any) -> bool:
    # Any float: the loss of a run that diverged is no finite number.
    numbers = isinstance(row, dict) and all(isinstance(value, float) or is_integer(value) for value in row.values())
    return numbers and 'step' in row
