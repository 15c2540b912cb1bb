import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import data
from analysis.page import pictures, positions
from experiment.checking.validate import validate
from models.positions import POSITIONS
from training import loop
from training.saving.restore import restore_selected
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


def test_arms_have_the_same_pictures_where_what_they_draw_is_fixed_and_the_same(trained):
    same = {}
    for name in ('alibi_2d', 'sinusoidal_2d', 'rope_axial', 'learned_1d'):
        for window in (None, 3, 7):  # of 4 x 4 patches: 7 is all
            same[name, window] = positions.fixed_as(trained(name, model__window=window))
    for name in ('alibi_2d', 'rope_axial'):
        assert same[name, None] == same[name, 7] != same[name, 3]
    assert same['sinusoidal_2d', None] == same['sinusoidal_2d', 3] != same['alibi_2d', 3]
    assert {same['learned_1d', window] for window in (None, 3, 7)} == {None}


@pytest.mark.parametrize('name', ['alibi_2d', 'relative_bias', 'rope_axial'])
def test_a_note_says_what_grey_is_where_a_window_leaves_offsets_out(trained, name):
    for window, grey in ((None, False), (3, True), (7, False)):
        _, note = positions.position_pictures(trained(name, model__window=window), 'p', 't')
        assert ('Grey: beyond the window' in note) == grey


def test_codes_of_every_layer(trained):
    (picture,), _ = positions.position_pictures(trained('learned_1d', model__positions__inject='every_layer'), 'p', 't')
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert titles[:2] == ['layer 0, before training', 'layer 0, after training']
    assert 'layer 1, after training' in titles
    assert pictures.inline(picture)


def test_codes_of_a_single_patch(trained):
    (picture,), _ = positions.position_pictures(trained('learned_1d', data__synthetic__image_size=3), 'p', 't')
    assert pictures.inline(picture)


def test_what_is_drawn_as_of_after_training_is_what_training_left(trained, monkeypatch):
    one, drawn = trained('learned_1d'), []
    monkeypatch.setattr(positions, 'codes_figure', lambda states, grid: drawn.append(states) or Figure())
    positions.position_pictures(one, 'p', 't')
    (states,) = drawn
    before, after = positions.initial_positions(one.config, one.spec), one.params['positions']
    for state, params in (('before training', before), ('after training', after)):
        np.testing.assert_array_equal(states[state][0].table[...], params[0]['table'])
