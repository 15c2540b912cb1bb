"""A folder of prepared datasets."""

import numpy as np
import pytest

from configs import base
from tests.data.prepared import pairs, random_images, write


@pytest.fixture
def config(tmp_path):
    """`config.data` for datasets prepared in a folder of the test's own."""
    data = base.get_config().data
    data.dir = str(tmp_path)
    return data


@pytest.fixture
def small(config, tmp_path):
    """A prepared dataset: its config and its folder."""
    examples = pairs(random_images(40, (16, 16, 1)), np.arange(40) % 10)
    config.name = 'small'
    return config, write(tmp_path, 'small', {'train': examples, 'test': examples}, shape=(16, 16, 1))
