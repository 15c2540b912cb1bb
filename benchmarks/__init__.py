"""Paired timings against what a user would pick instead: what every benchmark shares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from data.spec import Dataset, Spec, Split
from experiment import environment
from machine import limits
from machine.cores import cores_allowed

CLASSES = 10  # of random images


def random_dataset(image_shape: tuple[int, int, int], examples: int) -> Dataset:
    """Noise of ten classes, for what is timed and not learned; the same in all splits."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (examples, *image_shape), dtype=np.uint8)
    split = Split(images, draws.integers(0, CLASSES, examples).astype(np.int32))
    return Dataset(Spec('random', image_shape, CLASSES, tuple(map(str, range(CLASSES))), flip=False), *[split] * 3)


def machine() -> dict[str, Any]:
    """What the timings are of: hardware, versions, commit."""
    return {
        'cpu': environment.cpu_model(),
        'cores': len(cores_allowed()),
        'device': environment.device(),
        'versions': environment.versions(),
        **environment.git(),
    }


def describe(machine: Mapping[str, Any]) -> str:
    """The same, as lines of Markdown."""
    versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
    commit = f'{machine["commit"]}{", with changes" if machine["dirty"] else ""}'
    return '\n'.join(
        [
            f'- machine: {machine["cpu"]}, {machine["cores"]} cores; backend {machine["device"]["platform"]} '
            f'({machine["device"]["kind"]})',
            f'- versions: {versions}',
            f'- commit: {commit}',
        ]
    )


def markdown(table: pd.DataFrame, texts: int = 0) -> str:
    """The cells as they are, in Markdown: so many columns of texts, then those of numbers."""
    numbers = table.shape[1] - texts
    return table.to_markdown(index=False, disable_numparse=True, colalign=['left'] * texts + ['right'] * numbers)


def available_bytes() -> int:
    """Bytes of memory that the device of JAX's programs has to spare now."""
    stats = jax.devices()[0].memory_stats()
    if stats and 'bytes_limit' in stats:
        return stats['bytes_limit'] - stats['bytes_in_use']
    try:
        lines = Path('/proc/meminfo').read_text().splitlines()
        spare = next(int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable'))
        return min(spare, limits.memory())
    except (OSError, StopIteration):
        return limits.memory()
