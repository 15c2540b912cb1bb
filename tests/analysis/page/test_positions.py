import itertools

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.transforms import Affine2D

import data
from analysis.heads.attention import encodings
from analysis.page import pictures, positions
from experiment.validate import validate
from models.positions import POSITIONS
from training import loop
from training.restore import restore_selected
from training.track import Member

KINDS = {  # what is drawn of each, by the ends of the pictures' names
    'none': [],
    'alibi_2d': ['biases'],
    'relative_bias': ['biases'],
    'relative_vectors': ['vectors'],
    'gaussian': ['gaussians'],
    'rope_axial': ['frequencies', 'turns'],
    'rope_mixed': ['frequencies', 'turns'],
    'conditional': ['kernels'],
}
SCALE = 100  # pixels a patch
FIXED = ('sinusoidal_1d', 'sinusoidal_2d', 'alibi_2d', 'rope_axial')


def test_a_run_starts_from_its_initial_positions(trained, tmp_path):
    config = trained('learned_1d').config
    config.update_from_flattened_dict({
        'seed': 3, 'train.steps': 1, 'train.batch_size': 8, 'train.eval_batch_size': 8, 'train.learning_rate': 1e-12,
        'train.weight_decay': 0.0, 'train.warmup': 0.0, 'checkpoint.count': 1, 'log.tensorboard': False,
    })  # fmt: skip
    spec = validate(config)
    loop.train([Member(config, tmp_path, lambda row, steps: None)], data.load(config.data))
    _, after, step = restore_selected(config, spec, tmp_path)
    assert step == 1
    before = positions.initial_positions(config, spec)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), before, after['positions'])


@pytest.mark.parametrize('name', POSITIONS)
def test_every_encoding_has_its_picture_before_and_after(trained, name):
    drawn, note = positions.position_pictures(trained(name), 'positions_1', 'an arm')
    assert [picture.name for picture in drawn] == [f'positions_1_{kind}' for kind in KINDS.get(name, ['codes'])]
    assert note
    for picture in drawn:
        states = 'fixed' if name in FIXED else 'before training and after training'
        assert picture.alternative.endswith(f', {states}.')
        assert pictures.inline(picture).startswith('<svg')


def test_codes_of_every_layer(trained):
    (picture,), _ = positions.position_pictures(trained('learned_1d', model__positions__inject='every_layer'), 'p', 't')
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert titles[:2] == ['layer 0, before training', 'layer 0, after training']
    assert 'layer 1, after training' in titles
    assert pictures.inline(picture)


def test_codes_of_a_single_patch(trained):
    (picture,), _ = positions.position_pictures(trained('learned_1d', data__synthetic__image_size=3), 'p', 't')
    assert pictures.inline(picture)


def only(one, layer=0):
    return encodings(one.config.model, one.spec, one.params)[layer]


def test_a_bias_map_is_the_table(trained):
    one = trained('relative_bias')
    maps = positions._score_maps(only(one), one)
    np.testing.assert_allclose(maps, np.moveaxis(only(one).table[...], -1, 0), atol=1e-6)


@pytest.mark.parametrize('name', ['rope_axial', 'rope_mixed'])
def test_a_rotary_map_is_the_mean_cosine_of_the_turns(trained, name):
    one = trained(name)
    maps = positions._rotary_maps(only(one), one)
    turns = np.asarray(only(one).turns())
    for head, (row, column) in itertools.product((0, 1), [(0, 0), (1, -2), (-3, 3)]):
        pairs = turns[head % len(turns)]
        expected = np.mean(np.cos(pairs @ np.array([row, column])))
        assert maps[head, row + 3, column + 3] == pytest.approx(expected, abs=1e-4)


def test_an_ellipse_is_one_standard_deviation_around_the_centre(trained):
    encoding = only(trained('gaussian'))
    axes = Figure().add_subplot()
    positions._draw_gaussians(axes, encoding, solid=True)
    ellipses = [patch for patch in axes.patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 2
    for ellipse, centre, matrix in zip(ellipses, encoding.centres[...], encoding.spreads[...], strict=True):
        # As a polygon, drawn large: among a curve's own vertices are control points, which lie off it.
        (edge,) = ellipse.get_path().to_polygons(ellipse.get_patch_transform() + Affine2D().scale(SCALE))
        assert len(edge) > 20
        offsets = edge[:, ::-1] / SCALE - np.asarray(centre)  # rows, columns
        np.testing.assert_allclose(np.linalg.norm(offsets @ np.asarray(matrix).T, axis=-1), 1, atol=0.01)
