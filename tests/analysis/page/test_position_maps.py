import itertools

import numpy as np
import pytest

from analysis.heads.attention import encodings, visible
from analysis.page import position_maps
from models.patches import grid_coordinates


def only(one, layer=0):
    return encodings(one.config.model, one.spec, one.params)[layer]


def test_a_bias_map_is_the_table(trained):
    one = trained('relative_bias')
    maps = position_maps.score_maps(only(one), one)
    np.testing.assert_allclose(maps, np.moveaxis(only(one).table[...], -1, 0), atol=1e-6)


@pytest.mark.parametrize('name', ['relative_bias', 'alibi_2d', 'rope_mixed'])
@pytest.mark.parametrize(
    ('image', 'window'),
    [((12, 12), None), ((12, 12), 3), ((12, 12), 7), ((12, 24), 5), ((3, 24), 4), ((3, 24), 5), ((24, 3), 3)],
)
def test_a_map_has_a_number_at_the_offsets_at_which_a_token_sees_another(trained, name, image, window):
    one = trained(name)
    one = one._replace(spec=one.spec._replace(image_shape=(*image, 1)))
    one.config.model.window = window
    maps = position_maps.rotary_maps if name == 'rope_mixed' else position_maps.score_maps
    encoding = encodings(one.config.model, one.spec, one.params)[0]
    queries, keys = np.nonzero(visible(one.grid, window))
    places = np.indices(one.grid).reshape(2, -1).T
    rows, columns = (places[keys] - places[queries] + np.array(one.grid) - 1).T
    expected = np.zeros([2 * side - 1 for side in one.grid], bool)
    expected[rows, columns] = True
    for of_head in maps(encoding, one):
        np.testing.assert_array_equal(np.isfinite(of_head), expected)


def test_a_window_s_bias_map_is_its_table(trained):
    one = trained('relative_bias', model__window=3)
    maps = position_maps.score_maps(only(one), one)
    np.testing.assert_allclose(maps[:, 2:5, 2:5], np.moveaxis(only(one).table[...], -1, 0), atol=1e-6)


@pytest.mark.parametrize('name', ['rope_axial', 'rope_mixed'])
def test_a_rotary_map_is_the_mean_cosine_of_the_turns(trained, name):
    one = trained(name)
    maps = position_maps.rotary_maps(only(one), one)
    turns = np.asarray(only(one).turns())
    for head, (row, column) in itertools.product((0, 1), [(0, 0), (1, -2), (-3, 3)]):
        pairs = turns[head % len(turns)]
        expected = np.mean(np.cos(pairs @ np.array([row, column])))
        assert maps[head, row + 3, column + 3] == pytest.approx(expected, abs=1e-4)


def test_a_mosaic_has_at_each_place_the_map_of_that_place(trained):
    one = trained('learned_1d')
    codes = np.asarray(only(one).codes(grid_coordinates(one.grid)), np.float64)
    unit = codes / np.linalg.norm(codes, axis=-1, keepdims=True)
    tiles = position_maps.code_map(only(one), one.grid)
    rows, columns = one.grid
    for row, column in np.ndindex(one.grid):
        tile = tiles[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
        np.testing.assert_allclose(tile, (unit @ unit[row * columns + column]).reshape(one.grid), atol=1e-5)


def test_a_kernel_s_rows_go_down(trained):
    encoding = only(trained('conditional'))
    kernel, maps = np.asarray(encoding.conv.kernel[...]), position_maps.kernel_maps(encoding)
    for channel, row, column in np.ndindex(maps.shape):
        assert maps[channel, row, column] == kernel[row, column, 0, channel]


def test_vectors_of_rows_stand_left_of_those_of_columns(trained):
    encoding = only(trained('relative_vectors'))
    for table, cosines in zip((encoding.rows, encoding.columns), position_maps.vector_maps(encoding), strict=True):
        unit = np.asarray(table[...]) / np.linalg.norm(table[...], axis=-1, keepdims=True)
        np.testing.assert_allclose(cosines, unit @ unit.T, atol=1e-5)
