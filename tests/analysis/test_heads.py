import contextlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import models
from analysis import attention, heads, heads_report
from analysis.heads import attention_distance, attention_entropy, head_statistics, largest_entropy
from configs import base
from configs.errors import ConfigError
from experiment import folder
from experiment.run import execute, load_data
from experiment.validate import validate
from training import checkpoints
from training.restore import restore_selected
from training.step import state_shapes

ROOT = Path(__file__).resolve().parents[2]
GRID, TOKENS, PATCH = (4, 5), 20, 3
PLACES = np.indices(GRID).reshape(2, -1).T


def looking_at(offset):
    """A head that looks at one offset, or where that is outside the grid at the nearest token; of two images."""
    keys = np.clip(PLACES + offset, 0, np.array(GRID) - 1) @ (GRID[1], 1)
    return np.broadcast_to(np.eye(TOKENS, dtype=np.float32)[keys], (2, TOKENS, TOKENS))


def by_content(images=2, seed=0):
    """A head that looks at few tokens, at others in every image and from every query."""
    draws = np.random.default_rng(seed)
    return draws.dirichlet(np.full(TOKENS, 0.1), size=(images, TOKENS)).astype(np.float32)


def statistics(weights, cuts=(), window=None):
    """`head_statistics` of weights [layers, heads, images, tokens, tokens] in batches that end at `cuts`."""
    return head_statistics(lambda: iter(np.split(np.asarray(weights), cuts, axis=2)), GRID, PATCH, window)


def test_distance_is_the_mean_over_keys_then_queries_and_images():
    weights = by_content()
    expected = np.mean([
        sum(weights[image, query, key] * np.hypot(*(PLACES[key] - PLACES[query])) for key in range(TOKENS))
        for image, query in np.ndindex(2, TOKENS)
    ])  # fmt: skip
    np.testing.assert_allclose(attention_distance(weights[None], GRID), [expected], rtol=1e-5)


def test_distance_of_one_offset_is_its_length_away_from_the_border():
    # A step to the right is 1 from four columns of five, and 0 from the last.
    np.testing.assert_allclose(attention_distance(looking_at((0, 1))[None], GRID), [4 / 5], rtol=1e-6)
    # Two down and one to the left, from where both stay inside: averaged over those queries alone.
    inside = (PLACES[:, 0] + 2 < GRID[0]) & (PLACES[:, 1] >= 1)
    weights = np.where(inside[:, None], looking_at((2, -1)), np.eye(TOKENS, dtype=np.float32))
    np.testing.assert_allclose(attention_distance(weights[None], GRID) / inside.mean(), [5**0.5], rtol=1e-6)


def test_entropy_counts_the_tokens_looked_at():
    three = np.zeros((1, 1, TOKENS, TOKENS), np.float32)
    three[..., :3] = 1 / 3
    np.testing.assert_allclose(attention_entropy(three), [np.log(3)], rtol=1e-6)
    # In a window of 3, the corners see 4 tokens, the other borders 6, the interior 9.
    expected = (4 * np.log(4) + 10 * np.log(6) + 6 * np.log(9)) / TOKENS
    assert largest_entropy(GRID, window=3) == pytest.approx(expected)


@pytest.mark.parametrize('offset', [(0, 0), (0, 1), (-1, -1), (2, -1)])
def test_a_head_that_looks_at_one_offset_is_one_fixed_pattern(offset):
    row = statistics(looking_at(offset)[None, None]).loc[0]
    assert row['entropy'] == 0
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    assert (row['offset_row'], row['offset_column']) == offset
    assert row['offset_weight'] == pytest.approx(1)
    assert row['uniform_share'] == pytest.approx(1 / TOKENS)
    assert row['distance_pixels'] == pytest.approx(PATCH * row['distance_patches'])


def test_uniform_attention_is_a_fixed_pattern_of_the_largest_entropy():
    row = statistics(np.full((1, 1, 2, TOKENS, TOKENS), 1 / TOKENS, np.float32)).loc[0]
    assert row['entropy'] == pytest.approx(np.log(TOKENS), rel=1e-5)
    assert row['entropy_ratio'] == pytest.approx(1, rel=1e-5)
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    assert row['uniform_share'] == pytest.approx(1, rel=1e-5)


def test_a_head_that_looks_by_content_is_none():
    row = statistics(by_content(images=64)[None, None]).loc[0]
    assert row['fixed_pattern_share'] < 0.35
    assert row['entropy_ratio'] < 0.5


def test_half_of_a_head_by_content_is_between():
    half = (looking_at((0, 1))[:1] + by_content(images=64)) / 2
    assert 0.5 < statistics(half[None, None]).loc[0, 'fixed_pattern_share'] < 0.75


def test_windowed_attention_is_measured_against_its_window():
    near = np.max(np.abs(PLACES[None] - PLACES[:, None]), axis=-1) <= 1
    weights = (near / near.sum(-1, keepdims=True)).astype(np.float32)
    row = statistics(weights[None, None, None], window=3).loc[0]
    assert row['entropy_ratio'] == pytest.approx(1, rel=1e-5)
    assert row['uniform_share'] == pytest.approx(1, rel=1e-5)
    assert row['fixed_pattern_share'] == pytest.approx(1, abs=1e-4)
    alone = statistics(np.eye(TOKENS, dtype=np.float32)[None, None, None], window=1).loc[0]
    assert np.isnan(alone['entropy_ratio'])


def test_batches_change_nothing_and_heads_only_move_rows():
    weights = np.stack([by_content(7, seed) for seed in range(6)]).reshape(2, 3, 7, TOKENS, TOKENS)
    whole = statistics(weights)
    assert whole[['layer', 'head']].to_numpy().tolist() == [[layer, head] for layer in (0, 1) for head in (0, 1, 2)]
    pd.testing.assert_frame_equal(statistics(weights, cuts=(2, 5)), whole, rtol=1e-5)
    moved = statistics(weights[:, [2, 0, 1]]).drop(columns='head')
    expected = whole.drop(columns='head').loc[[2, 0, 1, 5, 3, 4]].reset_index(drop=True)
    pd.testing.assert_frame_equal(moved, expected, rtol=1e-5)


def test_bfloat16_weights_mean_the_same():
    weights = by_content(4)[None, None]
    rounded = statistics(jnp.asarray(weights, jnp.bfloat16))
    pd.testing.assert_frame_equal(rounded, statistics(weights), rtol=0.01)


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
    state = state._replace(params=jax.tree.map(lambda leaf: leaf * np.float32(scale), state.params))
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        progress = checkpoints.Progress(compile_seconds=0.0).validated(1, {'accuracy': 0.5, 'loss': 1.0})
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
    images = len(load_data(folder.read_config(trained).data).validation.labels)
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
    test = load_data(config.data).test
    weights = np.stack(model.apply(params, test.images[::2], capture=('attention',)).captured['attention'])
    expected = head_statistics(lambda: [weights], (4, 4), 2, window=3)
    monkeypatch.setattr(attention, 'CAPTURED_BYTES', 5 * 4 * 2 * 16**2)  # batches of five of the twelve images
    own = heads.measure_run(trained, images=12).heads.drop(columns=['likeness', 'accuracy_lost'])
    pd.testing.assert_frame_equal(own, expected, rtol=1e-4)


def test_of_a_sweep_the_means_of_each_arm(workdir, capsys):
    by_position = {'model__positions__name': 'gaussian', 'model__positions__content': False}
    fields = {'wide': small(), 'near': small(model__window=3, **by_position), 'conv': small(model__mixer='conv')}
    folders = {(arm, seed): workdir.add(arm, seed, config=fields[arm]) for arm in fields for seed in (0, 1)}
    for run in folders.values():
        checkpointed(run)
    lost = workdir.add('near', 2, config=fields['near'], finished=False)
    heads_report.report(workdir.write(), images=8)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
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
    own = heads.measure_run(folders['near', 1], images=8).heads
    same = written[written['run'] == folders['near', 1].name].drop(columns=['arm', 'seed', 'run'])
    pd.testing.assert_frame_equal(same.reset_index(drop=True), own, rtol=1e-5, check_dtype=False)
    text = '\n'.join(' '.join(line) for line in lines)
    assert 'conv: model.mixer=conv has no attention weights' in text
    assert 'near: 2 of 3 runs finished' in text


def test_a_run_whose_config_says_nothing_costs_the_others_nothing(workdir, capsys):
    for seed in (0, 1):
        checkpointed(workdir.add('whole', seed, config=small()))
    broken = workdir.add('broken', 0, config=small(), result={'config': {}})
    (broken / 'config.json').write_text('{}')
    heads_report.report(workdir.write(), images=8)
    text = ' '.join(capsys.readouterr().out.split())
    assert 'broken: --workdir=' in text
    assert set(pd.read_csv(workdir.path / 'heads.csv')['arm']) == {'whole'}


def test_params_that_are_no_numbers(tmp_path):
    config = base.get_config()
    config.update_from_flattened_dict(small())
    folder.open_run(tmp_path, config)
    checkpointed(tmp_path, scale=np.nan)
    with pytest.raises(ConfigError, match='its attention weights are no numbers'):
        heads_report.report(tmp_path)
    assert not (tmp_path / 'heads.csv').exists()


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
        heads_report.report(tmp_path)
    workdir.add('only', 0, config=small() | {field: value})
    with pytest.raises(ConfigError, match=f'no run with attention weights in it .*{message}'):
        heads_report.report(workdir.write())
