import contextlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import data
import models
from analysis.heads import measure, report
from analysis.heads import trained as module
from analysis.heads.attention import attention_parts
from analysis.heads.metrics import attention_entropy, head_statistics
from analysis.heads.removal import Removal
from analysis.reading import runs
from configs import base
from configs.errors import ConfigError
from data.spec import Split
from experiment import folder
from experiment.checking.validate import validate
from experiment.environment import ROOT
from experiment.run import execute
from training.progress import Progress
from training.saving import checkpoints
from training.saving.restore import restore_selected
from training.step import state_shapes


def small(**fields):
    """Fields of an experiment of seconds, by dotted name."""
    return {
        'data.name': 'synthetic',
        'data.synthetic.image_size': 8,
        'data.synthetic.train_examples': 64,
        'data.synthetic.test_examples': 24,
        'model.patch_size': 2,
        'model.embed_dim': 8,
        'model.depth': 2,
        'model.num_heads': 2,
        'train.steps': 2,
        'train.batch_size': 8,
        'train.eval_batch_size': 16,
        'checkpoint.count': 1,
        'log.tensorboard': False,
    } | {name.replace('__', '.'): value for name, value in fields.items()}


def checkpointed(workdir, scale=1.0):
    """One checkpoint, of random params times `scale`, for the run that stands in `workdir`."""
    config = folder.read_config(workdir)
    model = models.build(config.model, validate(config))
    draws = np.random.default_rng(config.seed)
    like = state_shapes(config, model)
    state = jax.tree.map(lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), like)
    params = jax.tree.map(lambda leaf: leaf * np.float32(scale), state.params)
    state = state._replace(step=np.int32(1), params=params)
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        progress = Progress(compile_seconds=0.0).validated(1, {'accuracy': 0.5, 'loss': 1.0})
        saver.save(1, jax.device_put(state), progress)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of attention in windows, with positions in its scores."""
    config = base.get_config()
    config.update_from_flattened_dict(small(model__positions__name='gaussian', model__window=3, model__depth=1))
    workdir = tmp_path_factory.mktemp('runs') / 'x'
    execute(config, workdir, lambda row, steps: None)
    return workdir


def test_the_command(trained):
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'COLUMNS': '160'}
    arguments = [sys.executable, '-m', 'analysis.heads', f'--workdir={trained}', '--images=10', '--split=validation']
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    images = len(data.load_once(folder.read_config(trained).data).validation.labels)
    assert f'{min(10, images)} validation images of synthetic, params of step 2.' in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [line for line in lines if len(line) == 13 and line[0].isdigit()]
    assert [row[:2] for row in rows] == [['0', '0'], ['0', '1']]
    written = pd.read_csv(trained / 'heads.csv')
    assert written['distance_patches'].map('{:.2f}'.format).tolist() == [row[2] for row in rows]


def test_a_run_is_what_its_attention_says_however_it_is_batched(trained, monkeypatch):
    config = folder.read_config(trained)
    spec = validate(config)
    model, params, _ = restore_selected(config, spec, trained)
    images = module.sample(data.load_once(config.data).test, 12).images
    weights = np.stack(model.apply(params, images, capture=('attention',)).captured['attention'])
    expected = head_statistics(lambda: [weights], (4, 4), 2, window=3)
    monkeypatch.setattr(module, 'CAPTURED_BYTES', 5 * 4 * 2 * 16**2)  # batches of five of the twelve images
    own = measure.measure_run(trained, images=12).heads.drop(columns=['likeness', 'accuracy_lost'])
    pd.testing.assert_frame_equal(own, expected, rtol=1e-4)


def test_likeness_is_found_by_its_run_whatever_its_folder_is_called(trained, tmp_path, monkeypatch):
    (tmp_path / 'link').symlink_to(trained)
    monkeypatch.chdir(trained)
    for place in (tmp_path / 'link', Path('.')):
        sweep = runs.read(place)
        found = measure.measure_sweep(place, sweep, images=8)
        assert list(found.likeness) == [sweep.arms[0].runs[0].name] == [trained.name]


def test_of_a_sweep_the_means_of_each_arm(workdir, capsys):
    by_position = {'model__positions__name': 'gaussian', 'model__positions__content': False}
    fields = {'wide': small(), 'near': small(model__window=3, **by_position), 'conv': small(model__mixer='conv')}
    folders = {(arm, seed): workdir.add(arm, seed, config=fields[arm]) for arm in fields for seed in (0, 1)}
    for run in folders.values():
        checkpointed(run)
    lost = workdir.add('near', 2, config=fields['near'], finished=False)
    report.report(workdir.write(), images=8)
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    written = pd.read_csv(workdir.path / 'heads.csv')
    assert len(written) == 2 * 2 * 2 * 2
    assert lost.name not in set(written['run'])
    rows = [line for line in lines if line[:1] in (['wide'], ['near']) and len(line) == 13]
    assert [row[:4] for row in rows] == [[arm, layer, '2', '2'] for arm in ('wide', 'near') for layer in '01']
    for row in rows:
        chosen = written[(written['arm'] == row[0]) & (written['layer'] == int(row[1]))]
        assert sorted(chosen['seed']) == [0, 0, 1, 1]
        assert f'{chosen["distance_patches"].mean():.2f}' == row[4]
    # Whatever the params, attention by position alone is a fixed pattern, and by content alone it is not.
    assert written.groupby('arm')['fixed_pattern_share'].min()['near'] == pytest.approx(1, abs=1e-4)
    assert written.groupby('arm')['fixed_pattern_share'].max()['wide'] < 0.99
    own = measure.measure_run(folders['near', 1], images=8).heads
    same = written[written['run'] == folders['near', 1].name].drop(columns=['arm', 'seed', 'run'])
    pd.testing.assert_frame_equal(same.reset_index(drop=True), own, rtol=1e-5, check_dtype=False)
    text = '\n'.join(' '.join(line) for line in lines)
    assert 'conv: model.mixer=conv has no attention weights' in text
    assert 'near: 2 of 3 runs finished' in text
    # While they are looked at, those that have any.
    assert said.err.splitlines() == [
        f'heads, {n} of 3: {arm}, runs to look at: 2' for n, arm in ((1, 'wide'), (2, 'near'))
    ]


def test_a_run_whose_config_says_nothing_costs_the_others_nothing(workdir, capsys):
    for seed in (0, 1):
        checkpointed(workdir.add('whole', seed, config=small()))
    broken = workdir.add('broken', 0, config=small(), result={'config': {}})
    (broken / 'config.json').write_text('{}')
    report.report(workdir.write(), images=8)
    text = ' '.join(capsys.readouterr().out.split())
    assert 'broken: its config does not say model.name' in text
    assert set(pd.read_csv(workdir.path / 'heads.csv')['arm']) == {'whole'}


@pytest.mark.parametrize(
    ('config', 'lack'),
    [
        ({'model': {'name': 'backbone', 'mixer': 'attention'}}, ''),
        ({'model': {'name': 'backbone', 'mixer': 'conv'}}, 'model.mixer=conv has no attention weights'),
        ({'model': {'name': 'resnet', 'mixer': 'attention'}}, 'model.name=resnet has no attention weights'),
        ({'model': {'name': 'a\x1b[2J\u202eb', 'mixer': 'attention'}}, 'model.name=a[2Jb has no attention weights'),
        *((config, 'its config does not say model.name') for config in (
            None, {}, {'model': None}, {'model': []}, {'model': {'name': ['backbone'], 'mixer': 'attention'}},
        )),
        ({'model': {'name': 'backbone', 'mixer': {'attention': 1}}}, 'its config does not say model.mixer'),
        ({'model': {'name': 'backbone', 'mixer': {}}}, 'its config does not say model.mixer'),
    ],
)  # fmt: skip
def test_whatever_a_config_holds_it_has_attention_or_is_said_to_lack_it(config, lack):
    found = module.lacks_attention(config)
    assert found.startswith(lack)
    assert bool(found) == bool(lack)


def test_params_that_are_no_numbers(tmp_path):
    config = base.get_config()
    config.update_from_flattened_dict(small())
    folder.open_run(tmp_path, config)
    checkpointed(tmp_path, scale=np.nan)
    with pytest.raises(ConfigError, match='its attention weights are no numbers'):
        report.report(tmp_path)
    assert not (tmp_path / 'heads.csv').exists()


def test_a_run_that_diverged_is_refused_and_one_that_goes_on_is_told(tmp_path):
    config = base.get_config()
    config.update_from_flattened_dict(small())
    folder.open_run(tmp_path, config)
    checkpointed(tmp_path)
    unfinished = 'The run is not finished: its best params may be yet to come.'
    assert unfinished in measure.measure_run(tmp_path, images=4).notes
    folder.write_result(tmp_path, {'status': 'finished'})
    assert unfinished not in measure.measure_run(tmp_path, images=4).notes
    folder.write_result(tmp_path, {'status': 'diverged', 'diverged_step': 3})
    with pytest.raises(ConfigError, match='the run diverged, and has no params that count'):
        measure.measure_run(tmp_path, images=4)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('model.mixer', 'conv', 'model.mixer=conv has no attention weights'),
        ('model.mixer', 'gru', 'model.mixer=gru has no attention weights'),
        ('model.mixer', 'identity', 'model.mixer=identity has no attention weights'),
        ('model.name', 'resnet', 'model.name=resnet has no attention weights'),
    ],
)
def test_models_without_attention(tmp_path, workdir, field, value, message):
    config = base.get_config()
    config.update_from_flattened_dict(small() | {field: value})
    folder.open_run(tmp_path, config)
    with pytest.raises(ConfigError, match=message):
        report.report(tmp_path)
    workdir.add('only', 0, config=small() | {field: value})
    with pytest.raises(ConfigError, match=f'no run with attention weights in it .*{message}'):
        report.report(workdir.write())


def test_each_head_has_what_its_own_removal_costs_on_the_split_asked_for(workdir, monkeypatch):
    run = workdir.add('one', 0, config=small())
    checkpointed(run)
    lost, accuracy, asked = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.9, 0.8, 0.5, 0.3, 0.1]), []

    def removed(trained, dataset, split, images):
        asked.append(split)
        return Removal(lost, tuple(np.ndindex(2, 2)), accuracy, 5)

    monkeypatch.setattr(measure, 'removal', removed)
    found = measure.measure_run(run, split='validation', images=4)
    assert asked == ['validation']
    assert found.notes[0].startswith('4 validation images of synthetic')
    assert found.notes[1].startswith('Accuracy without heads: on 5 validation images;')
    for row in found.heads.itertuples():
        assert row.accuracy_lost == lost[row.layer, row.head]
        others = np.delete(found.likeness[run.name][row.layer, row.head], row.head)
        assert row.likeness == pytest.approx(others.mean())
    curve = zip(found.pruning['heads_left'], found.pruning['accuracy'], strict=True)
    assert dict(curve) == {4: 0.9, 3: 0.8, 2: 0.5, 1: 0.3, 0: 0.1}
    one = module.load_trained(run)
    images = module.sample(data.load_once(one.config.data).validation, 4).images
    entropy = attention_entropy(attention_parts(one, images).weights)
    np.testing.assert_allclose(found.heads['entropy'], np.ravel(entropy), rtol=1e-4)


def test_an_arm_of_which_a_run_is_missing_is_incomplete(workdir):
    checkpointed(workdir.add('whole', 0, config=small()))
    checkpointed(workdir.add('cut', 0, config=small(model__depth=1)))
    workdir.add('cut', 1, config=small(model__depth=1), finished=False)
    checkpointed(workdir.add('damaged', 0, config=small(model__depth=3)))
    workdir.add('damaged', 1, config=small(model__depth=3))  # finished, and its checkpoint is gone
    sweep = runs.read(workdir.write())
    assert measure.measure_sweep(workdir.path, sweep, images=4).incomplete == {'cut', 'damaged'}


@pytest.mark.parametrize('labels', [np.arange(2000) // 1000, np.arange(2000) % 2], ids=['sorted', 'in turns'])
def test_a_sample_has_its_share_of_every_class(labels):
    """Whatever the order of the split; every second image of one where two classes take turns is of one class."""
    split = Split(np.arange(2000).astype(np.uint8).reshape(-1, 1, 1, 1), labels.astype(np.int32))
    thousand = module.sample(split, 1000)
    assert abs(thousand.labels.mean() - 0.5) < 5 * 0.5 / 1000**0.5
    np.testing.assert_array_equal(module.sample(split, 1000).images, thousand.images)
    np.testing.assert_array_equal(module.sample(split, 3000).labels, labels)
