"""Which training examples select and which train: fixed, stratified, nested; the same for every seed."""

import numpy as np
from jaxtyping import Int, Int32

from configs.errors import ConfigError

# A split is part of a dataset's definition. Were it drawn from a run's seed, seeds would differ in their data too.
SPLIT_SEED = 0


def rank_within_class(labels: Int32[np.ndarray, 'examples']) -> Int[np.ndarray, 'examples']:
    """The place of each example in a fixed random order of its own class, from 0."""
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind='stable')]
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.concatenate([np.arange(count) for count in counts])
    return ranks


def carve_validation(
    labels: Int32[np.ndarray, 'examples'], fraction: float
) -> tuple[Int[np.ndarray, 'train'], Int[np.ndarray, 'validation']]:
    """Splits rows into train and validation, with `fraction` of every class (rounded) in validation.

    A class has at least one example there, if that leaves it one to train on.

    Returns:
      Ascending row numbers of the two parts.
    Raises:
      ConfigError: nothing would be left on one of the two sides.
    """
    counts = np.bincount(labels)
    sizes = np.clip(np.round(fraction * counts), 1, np.maximum(counts - 1, 0)).astype(np.int64)
    held_out = rank_within_class(labels) < sizes[labels]
    if not held_out.any():
        raise ConfigError(
            f'data.validation_fraction={fraction} leaves nothing of {len(labels)} examples to select by: '
            'no class has two; another data.name would do, or, of a dataset that is made, a larger '
            'data.<name>.train_examples'
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def balanced_subset(
    labels: Int32[np.ndarray, 'examples'],
    rows: Int[np.ndarray, 'train'],
    fraction: float,
    examples: int | None,
) -> Int[np.ndarray, 'subset']:
    """The first `examples` (or `fraction`) of `rows` when classes take turns: balanced, and nested in any larger one.

    A class that runs out leaves its turns to the others. `examples` goes before `fraction` when it is set.

    Returns:
      Ascending row numbers.
    Raises:
      ConfigError: the subset would be empty, or larger than there are rows.
    """
    wanted = examples if examples is not None else round(fraction * len(rows))
    if not 1 <= wanted <= len(rows):
        asked, least, most = f'data.train_examples={examples}', 1, len(rows)
        if examples is None:  # above a half, which is rounded to none
            asked, least, most = f'data.train_fraction={fraction}', f'{1 / len(rows):.2g}', 1.0
        raise ConfigError(f'{asked} asks for {wanted} of {len(rows)} training examples; {least} to {most} would do')
    # Ranks of carve_validation's held-in rows start above the held-out ones in every class, so compare them anew.
    ranks = rank_within_class(labels[rows])
    turns = np.lexsort((labels[rows], ranks))
    return np.sort(rows[turns[:wanted]])
