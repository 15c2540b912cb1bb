"""Rows of metrics, to metrics.jsonl and to TensorBoard."""

import json
import os
from pathlib import Path

from tensorboardX import SummaryWriter

Row = dict[str, float | int]


class MetricsLog:
    """Appends rows to a run's `metrics.jsonl`, and to event files beside it.

    A run that goes on from a checkpoint at `step` first drops the rows after it, which it will write again.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool):
        path = folder / 'metrics.jsonl'
        rows = [row for row in read_rows(path) if row['step'] <= step]
        scratch = path.with_name('.metrics.jsonl')
        scratch.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        os.replace(scratch, path)
        self._file = open(path, 'a')  # noqa: SIM115, closed on exit
        # purge_step makes TensorBoard forget the rows that will come again.
        self._events = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=5) if tensorboard else None

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + '\n')
        self._file.flush()
        if self._events:
            for name, value in row.items():
                if name != 'step':
                    self._events.add_scalar(name, value, row['step'])

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *error) -> None:
        self._file.close()
        if self._events:
            self._events.close()


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a metrics.jsonl; a torn last line, as a killed run leaves it, is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
