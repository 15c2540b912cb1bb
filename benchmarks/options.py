"""Flags that several benchmarks have, defined once, since one process may import them all."""

from pathlib import Path
from typing import Any

from absl import flags

from experiment import folder
from files.writing import write_json

JSON = flags.DEFINE_string('json', None, 'File to write the measurements to, beside what is printed.')
SECONDS = flags.DEFINE_float(
    'seconds', None, 'Time for the rounds of each row; left out: what the benchmark usually takes.', lower_bound=0.0
)
BATCH = flags.DEFINE_integer('batch', None, "Images of a batch; left out: each row's own.", lower_bound=1)


def make_folder_of_json() -> None:
    """Before the minutes that measurements take. Raises ConfigError: --json cannot be written there."""
    if JSON.value:
        parent = Path(JSON.value).parent
        folder.make_writable(parent, f'--json: {parent}')


def write(measured: Any) -> None:
    """Writes the measurements to --json, if it is given. Raises StorageError."""
    if JSON.value:
        write_json(Path(JSON.value), measured)


def seconds(usual: float) -> float:
    """--seconds, or what is usual."""
    return usual if SECONDS.value is None else SECONDS.value
