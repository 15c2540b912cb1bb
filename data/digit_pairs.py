"""Two of scikit-learn's digits on an empty grid: of one class, or not? A relation, which takes two tokens to meet.

Where one is, and of which class, says nothing of the label: only both together do. So a model whose logits are a sum
over tokens has nothing to find: by Jensen's inequality no such sum has a cross-entropy below log 2, a coin's. (It could
be right more often than a coin, in up to some 64% without knowing places, but training leads to a logit of 0.)

After the same-different problem of Kim, Ricci & Serre 2018 (arXiv:1802.03390): they ask of new shapes whether two are
identical, this of ten known classes whether two pictures, which never are, are of one. Test has pictures that train has
not, the 359 of data/digits.py's test; whoever wrote them may have written some of train's.
"""

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from configs.errors import ConfigError
from data import digits
from data.spec import Spec, Split

CELL = 8  # pixels; a side of a digit

# Of the first digit of every image, and of the second.
OfBoth = tuple[Int[np.ndarray, 'examples'], Int[np.ndarray, 'examples']]


def spec(config: ConfigDict) -> Spec:
    """One channel, two classes; a mirrored pair is as much of one class as before.

    Raises:
      ConfigError: the digits are further apart than the grid is wide, or crops would cut them.
    """
    made = config.digit_pairs
    if config.augment.crop:
        raise ConfigError(
            f'data.augment.crop={config.augment.crop} would cut digits of digit_pairs at the border, and its label is '
            'of both; 0 would do'
        )
    if made.distance is not None and made.distance >= made.grid:
        raise ConfigError(
            f'data.digit_pairs.distance={made.distance} is more than data.digit_pairs.grid={made.grid} has room for; '
            f'{made.grid - 1} or less would do'
        )
    return Spec('digit_pairs', (CELL * made.grid, CELL * made.grid, 1), 2, ('different', 'same'), flip=True)


def examples(config: ConfigDict) -> int:
    """How many images train has, before validation is taken from it."""
    return config.digit_pairs.train_examples


def read(config: ConfigDict) -> tuple[Split, Split]:
    """Train and test, each half of either label. Their digits are those of `data.digits`' train, and of its test."""
    made, generator = config.digit_pairs, np.random.default_rng(0)
    train, test = digits.read(config)
    return _draw(train, made.train_examples, made, generator), _draw(test, made.test_examples, made, generator)


def _draw(source: Split, examples: int, made: ConfigDict, generator: np.random.Generator) -> Split:
    by_class, counts = np.argsort(source.labels, kind='stable'), np.bincount(source.labels)
    starts, classes = np.cumsum(counts) - counts, len(counts)

    labels = (np.arange(examples) % 2).astype(np.int32)
    first = generator.integers(0, classes, examples)
    second = (first + (1 - labels) * generator.integers(1, classes, examples)) % classes

    which = generator.integers(0, counts[first])
    other = (which + generator.integers(1, counts[second])) % counts[second]  # never the same picture twice

    images = np.zeros((examples, made.grid, CELL, made.grid, CELL), np.uint8)
    rows, columns = _places(examples, made.grid, made.distance, generator)
    for of_class, member, row, column in zip((first, second), (which, other), rows, columns, strict=True):
        images[np.arange(examples), row, :, column] = source.images[by_class[starts[of_class] + member], :, :, 0]
    return Split(images.reshape(examples, CELL * made.grid, CELL * made.grid, 1), labels)


def _places(examples: int, grid: int, distance: int | None, generator: np.random.Generator) -> tuple[OfBoth, OfBoth]:
    """Rows and columns, drawn with the same chance from all pairs of cells that are `distance` apart."""
    steps = np.arange(1 - grid, grid)
    down, right = (step.ravel() for step in np.meshgrid(steps, steps, indexing='ij'))
    room = (grid - abs(down)) * (grid - abs(right))  # cells from which such a step stays on the grid
    apart = np.maximum(abs(down), abs(right))
    room = room * (apart > 0 if distance is None else apart == distance)
    step = generator.choice(len(room), examples, p=room / room.sum())

    def both(steps: Int[np.ndarray, 'examples']) -> OfBoth:
        start = np.maximum(0, -steps) + generator.integers(0, grid - abs(steps))
        return start, start + steps

    return both(down[step]), both(right[step])
