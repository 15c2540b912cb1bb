"""scikit-learn's digits: 1,797 real 8 x 8 images that ship with the library (Alpaydin & Kaynak, UCI, 1998)."""

from importlib.metadata import distribution

import numpy as np
from ml_collections import ConfigDict

from data.spec import Spec, Split
from data.splits import carve_validation

FILE = 'sklearn/datasets/data/digits.csv.gz'  # a row an image: its pixels, 0..16, and its label
TEST_FRACTION = 0.2
TRAIN_EXAMPLES = 1438  # what that leaves


def spec(config: ConfigDict) -> Spec:
    """8 x 8 x 1, ten classes; a mirrored digit is another sign, or none."""
    return Spec('digits', (8, 8, 1), 10, tuple('0123456789'), flip=False)


def examples(config: ConfigDict) -> int:
    """How many images train has, before validation is taken from it."""
    return TRAIN_EXAMPLES


def read(config: ConfigDict) -> tuple[Split, Split]:
    """Train and test: a fixed split, `TEST_FRACTION` of every class in test. Intensities 0..16 become 0..255."""
    # The file that sklearn.datasets.load_digits reads: to import that function takes ten times as long as to read it.
    rows = np.loadtxt(distribution('scikit-learn').locate_file(FILE), np.float64, delimiter=',')
    images = np.round(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = rows[:, -1].astype(np.int32)
    train, test = carve_validation(labels, TEST_FRACTION)
    return Split(images[train], labels[train]), Split(images[test], labels[test])
