"""How many steps a run takes, and after which of them it validates and saves."""

from ml_collections import ConfigDict


def total_steps(config: ConfigDict, examples: int) -> int:
    """Steps of a run on `examples` training images: `train.steps`, else `train.epochs` in whole steps."""
    train = config.train
    return train.steps if train.steps is not None else max(1, round(train.epochs * examples / train.batch_size))


def milestones(steps: int, count: int) -> list[int]:
    """The steps after which a run validates and saves: at most `count`, evenly spread, the last at the end."""
    if count >= steps:
        return list(range(1, steps + 1))
    return sorted({max(1, round(steps * index / count)) for index in range(1, count + 1)})
