"""Every table can be planned as its docstring says; nothing is trained here."""

import functools
import importlib
from collections import Counter
from pathlib import Path

import pytest

import data
from configs import tables
from configs.fields import flatten
from experiment.sweeping import sweeps
from experiment.sweeping.sweep_file import load_sweep
from models.positions import POSITIONS, AbsolutePositions, has_params

FILES = sorted(path for path in Path(tables.__file__).parent.glob('*.py') if path.stem != '__init__')
# By file: seeds of each arm, and of each setting that it is tuned over, then arms of the full form and of :tiny.
EXPECTED = {
    'attention_scale': ((5, 24), (5, 24)),
    'budget': ((5, 12), (5, 12)),
    'data_scaling': ((5, 15), (5, 10)),
    'distance': ((5, 16), (5, 16)),
    'extrapolation': ((5, 9), (5, 9)),
    'injection': ((5, 23), (5, 23)),
    'learning_rate': ((5, 10), (5, 10)),
    'local_to_global': ((5, 9), (5, 9)),
    'long_sequences': ((5, 6), (5, 6)),
    'mixers': ((5, 12), (5, 9)),
    'positions_by_heads': ((5, 67), (5, 34)),
}
UNDRAWN = ('positions_by_heads', 'extrapolation', 'learning_rate')  # without a figure of their own


@functools.cache
def _planned(name, variant):
    module = importlib.import_module(f'configs.tables.{name}')
    config = module.get_config(variant)
    if config.data.name == 'fashion_mnist':  # which may not be prepared here
        config.data.name = 'synthetic'
        config.data.synthetic.image_size, config.data.synthetic.channels = 28, 1
    return sweeps.plan(config, *load_sweep(module.__file__, variant))


def test_every_file_is_expected():
    assert {path.stem for path in FILES} == set(EXPECTED)


@pytest.mark.parametrize('variant', ['', 'tiny'])
@pytest.mark.parametrize('name', EXPECTED)
def test_a_table_can_be_planned(name, variant):
    runs = _planned(name, variant)  # refuses a run that is there twice, and an arm that cannot run
    seeds, arms = EXPECTED[name][variant == 'tiny']
    by_arm = {}
    for run in runs:
        by_arm.setdefault((run.arm, *(run.overrides[field] for field in run.tuned)), []).append(run)
    assert len({label for label, *_ in by_arm}) == arms
    assert len(set(Counter(label for label, *_ in by_arm).values())) == 1  # no arm is tuned more than another
    for label, runs_of_arm in by_arm.items():
        assert [run.config.seed for run in runs_of_arm] == list(range(seeds)), label
        trees = [run.config.to_dict() | {'seed': None} for run in runs_of_arm]
        assert all(tree == trees[0] for tree in trees), label
        assert len({run.place for run in runs_of_arm}) == 1
    configs = [str(sorted((runs[0].config.to_dict() | {'seed': None}).items())) for runs in by_arm.values()]
    assert max(Counter(configs).values()) == 1  # two labels for one config would be one arm counted twice


@pytest.mark.parametrize('name', EXPECTED)
def test_a_docstring_names_its_commands_its_source_and_what_to_expect(name):
    text = importlib.import_module(f'configs.tables.{name}').__doc__
    assert f'python sweep.py --config=configs/tables/{name}.py' in text
    assert f'--workdir=runs/{name}' in text
    assert '`:tiny`' in text
    assert 'arXiv:' in text
    assert 'What to expect' in text


@pytest.mark.parametrize('name', [name for name in EXPECTED if name not in UNDRAWN])
@pytest.mark.parametrize('variant', ['', 'tiny'])
def test_figures_have_a_place_for_every_arm_but_those_without_what_is_varied(name, variant):
    without = {run.arm for run in _planned(name, variant) if run.place is None}
    assert without == ({'none'} if name == 'injection' else set())


def test_positions_by_heads_has_every_position():
    from configs.tables import positions_by_heads

    assert set(positions_by_heads.POSITIONS) == set(POSITIONS)


def test_injection_has_every_absolute_position():
    from configs.tables import injection

    assert set(injection.POSITIONS) == {
        name for name, variant in POSITIONS.items() if issubclass(variant, AbsolutePositions)
    }


def test_injection_knows_which_positions_are_without_parameters():
    from configs.tables import injection

    assert set(injection.WITHOUT_PARAMETERS) == {
        name for name in injection.POSITIONS if not has_params(POSITIONS[name])
    }


def test_data_scaling_shows_every_arm_as_many_images():
    for variant in ('', 'tiny'):
        runs = _planned('data_scaling', variant)
        assert len({(run.config.train.steps, run.config.train.batch_size) for run in runs}) == 1
        assert all(run.config.train.steps is not None for run in runs)
        assert {run.config.data.train_fraction for run in runs} == {0.01, 0.03, 0.1, 0.3, 1.0}


def test_mixers_count_the_tokens_that_the_model_has():
    for variant, side in (('', 28), ('tiny', 8)):
        for run in _planned('mixers', variant):
            assert run.place.x == (side // run.config.model.patch_size) ** 2


@pytest.mark.parametrize('variant', ['', 'tiny'])
def test_long_sequences_count_the_tokens_and_keep_the_digits_together(variant):
    for run in _planned('long_sequences', variant):
        height, width, _ = data.spec(run.config.data).image_shape
        assert run.place.x == height * width // run.config.model.patch_size**2
        assert run.config.data.digit_pairs.distance == 1


@pytest.mark.parametrize('variant', ['', 'tiny'])
def test_distances_go_beyond_what_two_blocks_of_3_x_3_relate_and_not_of_5_x_5(variant):
    distances = {run.config.data.digit_pairs.distance for run in _planned('distance', variant)}
    assert len(distances) == 4
    assert 4 < max(distances) <= 8


def test_head_dims_are_the_model_s():
    for run in _planned('attention_scale', ''):
        assert run.place.x * run.config.model.num_heads == run.config.model.embed_dim


POSITION, HEADS, MIXER = 'model.positions.name', 'model.num_heads', 'model.mixer'
PAIRS = {  # by what the two arms of a tested pair differ in: how many there are in the full form and in :tiny
    'attention_scale': {('model.attention_scale',): (12, 12)},
    'budget': {(MIXER,): (3, 3), (MIXER, POSITION): (6, 6), (POSITION,): (6, 6)},
    'data_scaling': {(MIXER, POSITION): (5, 5), ('model.name',): (5, 0)},
    'distance': {('model.window',): (8, 8), (MIXER,): (4, 4)},
    'extrapolation': {(POSITION,): (8, 8)},
    'injection': {('model.positions.inject',): (14, 14)},
    'learning_rate': {(POSITION,): (6, 6)},
    'local_to_global': {(MIXER, POSITION, 'model.window'): (2, 2), ('model.window',): (6, 6)},
    'long_sequences': {('model.window',): (3, 3)},
    'mixers': {(MIXER,): (8, 6)},
    'positions_by_heads': {(POSITION,): (60, 30), (HEADS,): (48, 16)},
}


@pytest.mark.parametrize('variant', ['', 'tiny'])
@pytest.mark.parametrize('name', EXPECTED)
def test_arms_are_tested_against_those_that_differ_in_what_is_asked_alone(name, variant):
    runs = _planned(name, variant)
    fields = {run.arm: flatten(run.config.to_dict()) | {'seed': None} for run in runs}
    pairs = {(run.arm, other) for run in runs for other in run.against}
    found = Counter(
        tuple(sorted(field for field in fields[one] if fields[one][field] != fields[other][field]))
        for one, other in pairs
    )
    assert found == Counter({kind: counts[variant == 'tiny'] for kind, counts in PAIRS[name].items()})


@pytest.mark.parametrize('variant', ['', 'tiny'])
def test_budgets_differ_in_steps_alone_and_are_drawn_over_them(variant):
    for run in _planned('budget', variant):
        assert run.place.x == run.config.train.steps
        assert (run.config.model.match, run.config.train.learning_rate) == ('params', 1e-3 if not variant else 2e-3)


@pytest.mark.parametrize('variant', ['', 'tiny'])
def test_data_scaling_is_drawn_over_percents_of_models_of_one_size(variant):
    for run in _planned('data_scaling', variant):
        assert run.place.x == pytest.approx(100 * run.config.data.train_fraction)
        assert run.config.model.match == 'params'
