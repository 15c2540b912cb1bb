"""Flags that several benchmarks have, defined once, since one process may import them all."""

import tempfile
from pathlib import Path

from absl import flags

from configs.errors import ConfigError

JSON = flags.DEFINE_string('json', None, 'File to write the measurements to, beside what is printed.')
SECONDS = flags.DEFINE_float(
    'seconds', None, 'Time for the rounds of each row; left out: what the benchmark usually takes.', lower_bound=0.0
)
BATCH = flags.DEFINE_integer('batch', None, "Images of a batch; left out: each row's own.", lower_bound=1)


def make_folder_of_json() -> None:
    """Before the minutes that measurements take. Raises ConfigError: --json cannot be written there."""
    if JSON.value:
        make_folder('json', Path(JSON.value).parent)


def make_folder(flag: str, folder: Path) -> None:
    """Makes the folder that a flag names, unless it is there. Raises ConfigError: it cannot be made, or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f'--{flag}: {folder}: {reason}; a folder that can be written would do') from error


def seconds(usual: float) -> float:
    """--seconds, or what is usual."""
    return usual if SECONDS.value is None else SECONDS.value
