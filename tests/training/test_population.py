"""Runs that train together do as they would alone."""

import copy
import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import data
from experiment.environment import ROOT
from tests.experiments import small
from tests.reliability.runs import timeless
from training import interruption, loop, placement, population
from training.divergence import NOTE
from training.interruption import Interrupted
from training.recording.log import read_rows
from training.saving import checkpoints
from training.step import State
from training.track import Member


@pytest.fixture
def config():
    config = small()
    config.train.steps, config.checkpoint.count = 12, 3
    return config


def differing(config):
    """Configs that differ in everything that members may differ in."""
    members = []
    for seed, rate, decay, smoothing in ((0, 2e-3, 0.05, 0.1), (7, 5e-3, 0.0, 0.1), (1, 1e-3, 0.3, 0.0)):
        one = copy.deepcopy(config)
        one.seed, one.train.learning_rate, one.train.weight_decay, one.train.label_smoothing = (
            seed, rate, decay, smoothing,
        )  # fmt: skip
        members.append(one)
    return members


def train(configs, folder, report=lambda row, steps: None):
    members = [Member(config, folder / str(index), report) for index, config in enumerate(configs)]
    for member in members:
        member.folder.mkdir(parents=True, exist_ok=True)
    return loop.train(members, data.load(configs[0].data))


def rows_of(folder):
    rows = read_rows(folder / 'metrics.jsonl')
    return [{name: value for name, value in row.items() if name != 'images_per_second'} for row in rows]


def assert_equal_runs(one, other, atol=2e-3):
    for split in ('train', 'validation', 'test'):
        np.testing.assert_allclose(one[split]['loss'], other[split]['loss'], atol=atol)
        assert one[split]['examples'] == other[split]['examples']
    for name in ('params', 'forward_flops', 'train_step_flops', 'steps', 'images_seen', 'width'):
        assert one[name] == other[name]


@pytest.mark.parametrize(
    'fields',
    [
        {'model.positions.name': 'learned_1d'},
        {'model.positions.name': 'rope_mixed', 'train.steps_per_dispatch': 3},
        {'model.mixer': 'conv', 'model.positions.name': 'none'},
        {'model.mixer': 'gru', 'model.positions.name': 'rnn', 'train.accumulate': 2},
        {'model.name': 'resnet', 'model.resnet_width': 8},
    ],
    ids=lambda fields: '-'.join(str(value) for value in fields.values()),
)
def test_members_equal_their_solo_runs(config, tmp_path, fields):
    config.update_from_flattened_dict(fields)
    configs = differing(config)
    together = train(configs, tmp_path / 'together')
    for index, one in enumerate(configs):
        (alone,) = train([one], tmp_path / f'alone{index}')
        assert together[index]['population'] == {'size': 3}
        assert_equal_runs(together[index], alone)
        rows, expected = rows_of(tmp_path / 'together' / str(index)), rows_of(tmp_path / f'alone{index}' / '0')
        assert [sorted(row) for row in rows] == [sorted(row) for row in expected]
        for row, other in zip(rows, expected, strict=True):
            for name, value in row.items():
                np.testing.assert_allclose(value, other[name], atol=0.07 if 'accuracy' in name else 2e-3, err_msg=name)
    losses = [result['train']['loss'] for result in together]
    assert len(set(losses)) == 3


def test_the_devices_rate_is_of_all_members_together(config, tmp_path):
    for result in train(differing(config)[:2], tmp_path):
        steps_per_second = result['images_per_second'] / config.train.batch_size
        assert result['flops_per_second'] == pytest.approx(2 * result['train_step_flops'] * steps_per_second)


def test_a_member_that_diverges_does_not_disturb_the_others(config, tmp_path):
    config.train.clip_norm = 0.0
    configs = differing(config)
    undisturbed = train(configs, tmp_path / 'undisturbed')
    configs[1].train.learning_rate = 1e30
    results = train(configs, tmp_path / 'disturbed')
    assert results[1]['status'] == 'diverged'
    assert results[1]['diverged_step'] <= 8
    for index in (0, 2):
        assert results[index]['test'] == undisturbed[index]['test']
    for row in rows_of(tmp_path / 'disturbed' / '1'):
        json.dumps(row, allow_nan=False)
    assert rows_of(tmp_path / 'disturbed' / '0') == rows_of(tmp_path / 'undisturbed' / '0')


def test_a_population_whose_members_all_diverge_ends_early(config, tmp_path):
    config.train.clip_norm = 0.0
    configs = differing(config)
    for one in configs:
        one.train.learning_rate = 1e30
    results = train(configs, tmp_path)
    assert [result['status'] for result in results] == ['diverged'] * 3
    assert checkpoints.latest_step(tmp_path / '0') < 12


def test_what_has_diverged_stays_so_when_it_is_asked_again(config, tmp_path):
    config.train.clip_norm, config.checkpoint.count = 0.0, 12
    configs, told = differing(config), []
    for one in configs:
        one.train.learning_rate = 1e30
    first = train(configs, tmp_path)
    rows = [rows_of(tmp_path / str(index)) for index in range(3)]
    assert train(configs, tmp_path, lambda row, steps: told.append(row)) == first
    together = {'division': {'shares': 1, 'accumulate': 1, 'runs': 3}}
    (alone,) = train(configs[:1], tmp_path, lambda row, steps: told.append(row))
    assert alone == first[0] | {'begun_by': [together]}
    assert ([rows_of(tmp_path / str(index)) for index in range(3)], told) == (rows, [])


class Killed(Exception):
    pass


def test_a_population_resumes_bit_for_bit(config, tmp_path):
    def report(row, steps):
        if row['step'] >= 10:
            raise Killed

    configs = differing(config)
    whole = train(configs, tmp_path / 'whole')
    with pytest.raises(Killed):
        train(configs, tmp_path / 'cut', report)
    assert {checkpoints.latest_step(tmp_path / 'cut' / str(index)) for index in range(3)} == {8}
    resumed = train(configs, tmp_path / 'cut')
    for one, other in zip(whole, resumed, strict=True):
        assert one['test'] == other['test']
        assert one['train'] == other['train']
    # A member can go on by itself, too: its folder is that of any run.
    with pytest.raises(Killed):
        train(configs, tmp_path / 'split', report)
    (alone,) = train([configs[0]], tmp_path / 'split')
    assert_equal_runs(alone, whole[0])


def test_members_go_on_from_the_newest_step_that_all_have(config, tmp_path):
    configs = differing(config)
    whole = train(configs, tmp_path / 'whole')
    shutil.copytree(tmp_path / 'whole', tmp_path / 'cut')
    # As if the process had been killed after some of them saved their last step.
    newest = checkpoints.latest_step(tmp_path / 'cut' / '1')
    shutil.rmtree(tmp_path / 'cut' / '1' / 'checkpoints' / str(newest))
    resumed = train(configs, tmp_path / 'cut')
    for index, (one, other) in enumerate(zip(whole, resumed, strict=True)):
        assert all(one[split] == other[split] for split in ('train', 'validation', 'test'))
        assert rows_of(tmp_path / 'whole' / str(index)) == rows_of(tmp_path / 'cut' / str(index))


def cut_off(configs, folder, kind, step, of=0):
    """Trains until a member reports a row of a kind, and of that step."""

    def report(row, steps):
        if row['step'] >= step and kind in row:
            raise Killed

    folders = [folder / str(index) for index in range(len(configs))]
    for one in folders:
        one.mkdir(parents=True)
    reports = [report if index == of else lambda row, steps: None for index in range(len(configs))]
    with pytest.raises(Killed):
        loop.train(list(map(Member, configs, folders, reports)), data.load(configs[0].data))


def between_saves(configs, folder):
    """One has saved the ninth step, and one has not."""
    cut_off(configs, folder, 'validation_loss', 9, of=2)
    return 8


def by_a_signal(configs, folder, after):
    """At a step that would not be saved else."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interruption, 'requested', lambda: signal.SIGTERM if max(told, default=0) >= after else None)
        with pytest.raises(Interrupted):
            train(configs, folder, lambda row, steps: told.append(row['step']))
    step = checkpoints.latest_step(folder / '0')
    assert step % 6
    return step


def between_results(configs, folder):
    train(configs, folder)
    return 12


def behind_the_divergence(configs, folder):
    """The others have lost what they saved of its step."""
    cut_off(configs, folder, 'train_loss', 3)
    for index in '02':
        shutil.rmtree(folder / index / 'checkpoints' / '2')
    return 1


def with_a_damaged_note(configs, folder):
    cut_off(configs, folder, 'train_loss', 9)
    path = folder / '1' / NOTE
    path.write_text(path.read_text().replace('"diverged_step": 2', '"diverged_step": 3'))
    return 0


@pytest.mark.parametrize(
    ('saves', 'cut'),
    [(12, between_saves), (2, functools.partial(by_a_signal, after=3)), (2, functools.partial(by_a_signal, after=8)),
     (12, between_results), (12, behind_the_divergence), (12, with_a_damaged_note)],
    ids=['between saves', 'signal', 'later signal', 'between results', 'behind', 'damaged'],
)  # fmt: skip
def test_a_population_goes_on_though_a_member_has_diverged(config, tmp_path, saves, cut):
    """It has no checkpoint of where the others are, and they have none of where it was: each keeps the newest two."""
    config.train.clip_norm, config.log.every, config.checkpoint.count = 0.0, 1, saves
    config.checkpoint.select = 'last'
    configs, told = differing(config), []
    configs[1].train.learning_rate = 1e30
    whole = train(configs, tmp_path / 'whole')
    assert [result.get('diverged_step') for result in whole] == [None, 2 if saves == 12 else 3, None]
    step = cut(configs, tmp_path / 'cut')
    again = train(configs, tmp_path / 'cut', lambda row, steps: told.append(row['step']))
    assert min(told, default=13) == step + 1
    assert list(map(timeless, again)) == list(map(timeless, whole))
    for one, other in ((tmp_path / name / index for name in ('whole', 'cut')) for index in '012'):
        assert rows_of(one) == rows_of(other)
        assert (one / NOTE).exists() == (other / NOTE).exists() == (one.name == '1')


def test_members_differ_from_their_first_draw_as_runs_do(config):
    import models
    from training.step import initial_state

    model = models.build(config.model, data.spec(config.data))
    keys = [jax.random.key(seed) for seed in range(3)]
    draw = population.vectorised(
        lambda key: initial_state(config, model, key), placement.of(3, 16, only=jax.devices()[:1]), [0]
    )
    together = draw(population.together(keys))
    for index, key in enumerate(keys):
        alone = initial_state(config, model, key)
        same = jax.tree.map(lambda one, other: np.array_equal(one, other), population.member(together, index, 3), alone)
        assert all(jax.tree.leaves(same))


SPREAD = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import jax
import numpy as np
sys.path.insert(0, sys.argv[1] + '/tests/training')
import test_population as t
from training import placement
assert len(jax.devices()) == 2
assert len(placement.of(4, 16).devices) == 2 and len(placement.of(3, 16).devices) == 1
config = t.config.__wrapped__() if hasattr(t.config, '__wrapped__') else t.config.__pytest_wrapped__.obj()
import copy
configs = []
for seed in range(4):
    configs.append(copy.deepcopy(config)); configs[-1].seed = seed
with tempfile.TemporaryDirectory() as folder:
    together = t.train(configs, Path(folder) / 'together')
    (alone,) = t.train([configs[3]], Path(folder) / 'alone')
    again, gathered = t.gone_on(configs, Path(folder) / 'cut')
t.assert_equal_runs(together[3], alone)
for one, other in zip(together, again, strict=True):
    assert all(one[split] == other[split] for split in ('train', 'validation', 'test'))
assert gathered == [{np.ndarray}, {np.ndarray}], gathered
print('spread')
"""


def gone_on(configs, folder):
    """Results of an interrupted population, and the types of the arrays that it made one, to go on and at its end."""
    gathered, together = [], population.together

    def noted(members):
        made = together(members)
        if isinstance(members[0], State):
            gathered.append({type(leaf) for leaf in jax.tree.leaves(made)})
        return made

    def report(row, steps):
        if row['step'] >= 10:
            raise Killed

    with pytest.raises(Killed):
        train(configs, folder, report)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, 'together', noted)
        return train(configs, folder), gathered


def test_members_are_spread_over_devices_and_never_gathered_on_one():
    environment = os.environ | {'XLA_FLAGS': '--xla_force_host_platform_device_count=2', 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
        [sys.executable, '-c', SPREAD, str(ROOT)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'spread' in done.stdout


DRAWN_TOGETHER = """
import functools
import jax
import numpy as np
import models
from data.spec import Spec
from tests.experiments import small
from training import placement, population
from training import programs
from training.step import initial_state

config = small()
config.model.mixer, config.model.embed_dim, config.model.depth = 'gru', 48, 3
model = models.build(config.model, Spec('small', (8, 8, 1), 3, ('a', 'b', 'c'), flip=False))
draw_one = functools.partial(initial_state, config, model)
together, alone = (programs.compile_drawing(draw_one, placement.of(size, 16)) for size in (8, 1))
keys = [jax.random.key(seed) for seed in range(8)]
for _ in range(20):
    members = jax.block_until_ready(together(population.together(keys)))
for index, key in enumerate(keys):
    one = population.member(members, index, 8)
    jax.tree.map(lambda *leaves: np.testing.assert_allclose(*leaves, atol=1e-5), one.params, alone(key).params)
"""


def test_members_are_drawn_as_alone_and_never_wait_for_each_other():
    """Several cores hung where the orthogonal kernels of several members were drawn as a batch."""
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}
    command = [sys.executable, '-c', DRAWN_TOGETHER]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
