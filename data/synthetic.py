"""Images made on the spot, of any size: for smoke tests and benchmarks, never for a claim."""

import numpy as np
from ml_collections import ConfigDict

from data.spec import Spec, Split


def spec(config: ConfigDict) -> Spec:
    """What `config.data.synthetic` asks for."""
    made = config.synthetic
    shape = (made.image_size, made.image_size, made.channels)
    return Spec('synthetic', shape, made.num_classes, tuple(str(label) for label in range(made.num_classes)), flip=True)


def examples(config: ConfigDict) -> int:
    """How many images train has, before validation is taken from it."""
    return config.synthetic.train_examples


def read(config: ConfigDict) -> tuple[Split, Split]:
    """Train and test: every class is a fixed random picture, every example that picture under noise."""
    generator = np.random.default_rng(0)
    height, width, channels = spec(config).image_shape
    classes = generator.integers(0, 256, (config.synthetic.num_classes, height, width, channels), dtype=np.uint8)

    def draw(examples: int) -> Split:
        labels = (np.arange(examples) % len(classes)).astype(np.int32)
        noise = generator.integers(0, 256, (examples, height, width, channels), dtype=np.uint8)
        return Split(classes[labels] // 2 + noise // 2, labels)

    return draw(config.synthetic.train_examples), draw(config.synthetic.test_examples)
