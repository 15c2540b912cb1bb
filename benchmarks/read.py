"""Whether a disk keeps up with training: images/s read from a memory-mapped cache that is not in memory.

python -m benchmarks.read [--folder=.] [--images=20000] [--batch=256]

Prints the section of RESULTS.md. It takes two minutes, and 3 GB of the disk until it ends.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import flags
from jaxtyping import Int

import benchmarks
from benchmarks import options, timing
from configs.errors import ConfigError
from data.rows import Rows
from experiment import command, folder
from files.writing import sync, writing

FOLDER = flags.DEFINE_string('folder', '.', 'A folder on the disk in question; left as it was.')
IMAGES = flags.DEFINE_integer('images', 20_000, 'Images in the file, of 224 x 224 pixels.', lower_bound=1)
flags.adopt_module_key_flags(options)

SHAPE = (224, 224, 3)
BATCHES = (64, 256, 1024)
CHUNK = 100  # images written at a time
ASKED, TOUCHED, CACHED = 'asked for at once', 'as touched', 'in memory'
INTRODUCTION = """## Images that do not fit in memory

`python -m benchmarks.read`

Batches of random rows of a memory-mapped file, copied to memory, as training reads images that are too many to keep
(data/rows.py): images/s where each batch is asked for at once, and where its pages are read as they are
touched; the file's pages are dropped from memory before either. Both copy the same rows of a round, in turn; medians
over the rounds, and of the paired ratios with their quartiles. In memory: the same rows once more.
"""


def main() -> None:
    if not hasattr(os, 'posix_fadvise'):
        raise ConfigError('this system drops no pages of a file from memory when asked to; Linux would do')
    batches = BATCHES if options.BATCH.value is None else (options.BATCH.value,)
    options.make_folder_of_json()
    machine = benchmarks.machine()
    where = Path(FOLDER.value)
    folder.make_writable(where, f'--folder: {where}')
    with tempfile.TemporaryDirectory(dir=where, prefix='.patchwise-read-') as made:
        path = Path(made) / 'images.npy'
        print(f'writing {IMAGES.value:,} images ...', file=sys.stderr, flush=True)
        write(path, IMAGES.value)
        rows = [measure(path, batch, seconds=options.seconds(30.0), fewest=3) for batch in batches]
    ahead = read_ahead(where)
    disk = f'- disk: the system reads ahead {"an unknown number of" if ahead is None else f"{ahead:,}"} KiB'
    if any(row['images_per_second'][TOUCHED] > row['images_per_second'][CACHED] / 2 for row in rows):
        disk += '; touched pages came as fast as from memory, where this file system seems to keep them'
    print(f'{INTRODUCTION}\n{benchmarks.describe(machine)}\n{disk}\n\n{to_markdown(rows)}')
    options.write({'machine': machine, 'read_ahead_kib': ahead, 'images': IMAGES.value, 'rows': rows})


def write(path: Path, images: int) -> None:
    """Noise, and on the disk before it returns. Raises StorageError: the disk has no room for it."""
    draws = np.random.default_rng(0)
    header = {'descr': np.lib.format.dtype_to_descr(np.dtype(np.uint8)), 'fortran_order': False}
    # Not memory-mapped: on a full disk that is no error, but the end of the process.
    with writing(path), path.open('wb') as file:
        np.lib.format.write_array_header_1_0(file, header | {'shape': (images, *SHAPE)})
        for start in range(0, images, CHUNK):
            file.write(draws.bytes(min(CHUNK, images - start) * math.prod(SHAPE)))
    sync(path)


def measure(path: Path, batch: int, *, seconds: float, fewest: int) -> dict[str, Any]:
    """Images/s of both ways from the disk, in turn, and from memory; and their ratio, a Ratio as JSON holds it."""
    ways = {
        ASKED: lambda images, rows: Rows(images, np.arange(len(images)))[rows],
        TOUCHED: lambda images, rows: images[rows],
    }
    order, draws, images = list(ways), np.random.default_rng(0), len(np.load(path, mmap_mode='r', allow_pickle=False))
    times: dict[str, list[float]] = {name: [] for name in (*ways, CACHED)}
    end = time.perf_counter() + seconds
    while len(times[CACHED]) < fewest or time.perf_counter() < end:
        rows = draws.integers(0, images, batch)
        for name in order:
            cold, again = read_twice(path, ways[name], rows)
            times[name].append(cold)
            if name == ASKED:
                times[CACHED].append(again)
        order.reverse()
    arrays = {name: np.array(values) for name, values in times.items()}
    return {
        'batch': batch,
        'rounds': len(arrays[CACHED]),
        'images_per_second': {name: float(batch / np.median(values)) for name, values in arrays.items()},
        'ratio': timing.ratio(arrays[TOUCHED], arrays[ASKED])._asdict(),
    }


def read_twice(path: Path, way: Callable[..., np.ndarray], rows: Int[np.ndarray, 'batch']) -> tuple[float, float]:
    """Seconds of way(images, rows) with nothing of the file in memory, where the system drops it, and once more."""
    images = np.load(path, mmap_mode='r', allow_pickle=False)
    with path.open('rb') as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        way(images, rows)
        taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


def read_ahead(folder: Path) -> int | None:
    """KiB that Linux reads around a page that is touched, of the disk where `folder` is; None where it does not say."""
    device = folder.stat().st_dev
    try:
        return int(Path(f'/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb').read_text())
    except (OSError, ValueError):
        return None


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    table = pd.DataFrame(
        [
            {'batch': f'{row["batch"]:,}'}
            | {f'{name}, images/s': f'{speed:,.0f}' for name, speed in row['images_per_second'].items()}
            | {f'{ASKED} / {TOUCHED}': timing.in_words(row['ratio']), 'rounds': str(row['rounds'])}
            for row in rows
        ]
    )
    return benchmarks.markdown(table)


if __name__ == '__main__':
    command.run(main)
