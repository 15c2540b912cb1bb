"""From a name to a dataset: uint8 arrays for train, validation and test, and their spec."""

import functools
import json
from types import ModuleType

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from data import digit_pairs, digits, splits, synthetic
from data.cache import IN_MEMORY_BYTES
from data.rows import Rows
from data.spec import Dataset, Spec, Split

LOCAL = {'digits': digits, 'digit_pairs': digit_pairs, 'synthetic': synthetic}  # need no preparation


def _source(name: str) -> ModuleType:
    """A module with `spec(config)`, `examples(config)` and `read(config)`; every name that is not ours is TFDS's."""
    if name in LOCAL:
        return LOCAL[name]
    from data import tfds_source  # here, since tensorflow-datasets takes a second to import

    return tfds_source


def spec(config: ConfigDict) -> Spec:
    """What `load` would give, without reading an image. `config` is an experiment's `config.data`.

    Raises:
      ConfigError: no such dataset, or one that is not prepared (the message says the command that prepares it).
    """
    return _source(config.name).spec(config)


def examples(config: ConfigDict) -> int:
    """How many training examples the dataset has, before validation and any subset are taken.

    Raises:
      ConfigError: as `spec`.
    """
    return _source(config.name).examples(config)


def load(config: ConfigDict) -> Dataset:
    """The three splits of an experiment. They depend on `config` alone, never on a run's seed.

    Validation is carved from the training examples before any subset is taken, so every `train_fraction` selects
    on the same examples; test is the dataset's own.

    Raises:
      ConfigError: as `spec`, or a subset that is empty or larger than the training examples there are.
      StorageError: the decoded images cannot be kept on disk, and are too large for memory.
    """
    source = _source(config.name)
    train, test = source.read(config)
    held_in, held_out = splits.carve_validation(train.labels, config.validation_fraction)
    chosen = splits.balanced_subset(train.labels, held_in, float(config.train_fraction), config.train_examples)
    if _is_large(test.images):
        test = _take(test, np.arange(len(test.labels)))
    return Dataset(source.spec(config), _take(train, chosen), _take(train, held_out), test)


def load_once(config: ConfigDict) -> Dataset:
    """`load`, whose arrays the runs of a sweep share: what the last two configs gave is kept."""
    return _load(config.to_json())


@functools.lru_cache(maxsize=2)
def _load(fields: str) -> Dataset:
    return load(ConfigDict(json.loads(fields)))


def _take(split: Split, rows: Int[np.ndarray, 'rows']) -> Split:
    images = Rows(split.images, rows)
    # What is not held in memory stays memory-mapped, and is read batch by batch. The rest is copied by Rows as well,
    # since it asks for all that is to be read at once.
    return Split(images if _is_large(images) else images[:], split.labels[rows])


def _is_large(images: np.ndarray | Rows) -> bool:
    return images.nbytes > IN_MEMORY_BYTES
