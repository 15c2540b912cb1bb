import itertools

import numpy as np
import pytest

from analysis.heads.attention import encodings
from analysis.page import position_maps


def only(one, layer=0):
    return encodings(one.config.model, one.spec, one.params)[layer]


def test_a_bias_map_is_the_table(trained):
    one = trained('relative_bias')
    maps = position_maps.score_maps(only(one), one)
    np.testing.assert_allclose(maps, np.moveaxis(only(one).table[...], -1, 0), atol=1e-6)


@pytest.mark.parametrize('name', ['rope_axial', 'rope_mixed'])
def test_a_rotary_map_is_the_mean_cosine_of_the_turns(trained, name):
    one = trained(name)
    maps = position_maps.rotary_maps(only(one), one)
    turns = np.asarray(only(one).turns())
    for head, (row, column) in itertools.product((0, 1), [(0, 0), (1, -2), (-3, 3)]):
        pairs = turns[head % len(turns)]
        expected = np.mean(np.cos(pairs @ np.array([row, column])))
        assert maps[head, row + 3, column + 3] == pytest.approx(expected, abs=1e-4)
