"""Rows of metrics, to metrics.jsonl and to wherever else the config says."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from training.sinks import Row, open_sinks


class MetricsLog:
    """Appends rows to a run's `metrics.jsonl`, and hands them to what `config.log` asks for beside it.

    A run that goes on from a checkpoint at `step` first drops the rows after it, which it will write again.
    """

    def __init__(self, folder: Path, step: int, config: ConfigDict):
        path = folder / 'metrics.jsonl'
        rows = [row for row in read_rows(path) if row['step'] <= step]
        scratch = path.with_name('.metrics.jsonl')
        scratch.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        os.replace(scratch, path)
        self._file = open(path, 'a')  # noqa: SIM115, closed on exit
        self._sinks = open_sinks(folder, step, config)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + '\n')
        self._file.flush()
        for sink in self._sinks:
            sink.write(row)

    def finish(self, scores: Row) -> None:
        """What is known at the run's end; result.json has it too, so metrics.jsonl has not."""
        for sink in self._sinks:
            sink.finish(scores)

    def __enter__(self) -> 'MetricsLog':
        return self

    def __exit__(self, *error) -> None:
        self._file.close()
        for sink in self._sinks:
            sink.close()


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a metrics.jsonl; a torn last line, as a killed run leaves it, is left out.

    So is what is no row, of numbers by name with a step among them.
    """
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if isinstance(row, dict) and 'step' in row and all(isinstance(value, int | float) for value in row.values()):
            rows.append(row)
    return rows
