import errno
import json
import os

import pytest

from configs.errors import ConfigError
from experiment import folder
from experiment.sweeping import sweeps
from experiment.sweeping.manifest import open_sweep
from files.writing import StorageError


def test_arms_may_be_added_but_another_sweep_is_refused(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': 0}])
    open_sweep(tmp_path, 'one.py', runs)
    open_sweep(tmp_path, 'one.py', sweeps.plan(config, [{'seed': 0}, {'seed': 1}]))
    assert len(json.loads((tmp_path / 'sweep.json').read_text())['runs']) == 2


def test_a_sweep_goes_on_from_wherever_its_file_is_by_now(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': 0}])
    open_sweep(tmp_path, 'one.py', runs)
    open_sweep(tmp_path, '../moved/other.py', runs)
    assert json.loads((tmp_path / 'sweep.json').read_text())['config'] == '../moved/other.py'


def test_a_run_s_folder_is_no_sweep_s(config, tmp_path):
    folder.open_run(tmp_path, config)
    with pytest.raises(ConfigError, match='holds a single run'):
        open_sweep(tmp_path, 'one.py', sweeps.plan(config, [{}]))


def test_a_sweep_that_lost_runs_is_refused_so_that_no_arm_leaves_the_table_unseen(config, tmp_path):
    runs = sweeps.plan(config, [{'arm': 'mine', 'seed': seed} for seed in (0, 1)])
    open_sweep(tmp_path, 'one.py', runs)
    rest = runs[:1]
    with pytest.raises(ConfigError, match=r"holds the sweep of one\.py, with 1 runs .*: one of 'mine'; another folder"):
        open_sweep(tmp_path, 'one.py', rest)
    folder.open_run(tmp_path / runs[1].name, runs[1].config)
    with pytest.raises(ConfigError, match="one of 'mine' has seed=1 there, 0 here; another folder"):
        open_sweep(tmp_path, 'one.py', rest)
    assert len(json.loads((tmp_path / 'sweep.json').read_text())['runs']) == 2


def test_a_lost_run_of_another_version_is_named_too(config, tmp_path):
    runs = sweeps.plan(config, [{'arm': 'mine', 'seed': seed} for seed in (0, 1)])
    open_sweep(tmp_path, 'one.py', runs)
    tree = runs[0].config.to_dict()
    del tree['model']['window']  # which is None where it is there
    (tmp_path / runs[1].name).mkdir()
    (tmp_path / runs[1].name / 'config.json').write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=r"one of 'mine' has model\.window=nothing there, None here"):
        open_sweep(tmp_path, 'one.py', runs[:1])
    (tmp_path / runs[1].name / 'config.json').write_text(runs[0].config.to_json())
    with pytest.raises(ConfigError, match="one of 'mine'; another folder"):
        open_sweep(tmp_path, 'one.py', runs[:1])


def test_what_is_tuned_names_no_arm_and_stands_in_the_list(config, tmp_path):
    rows = [
        {'model.depth': depth, 'train.learning_rate': rate, 'tuned': 'train.learning_rate'}
        for depth in (1, 2)
        for rate in (1e-3, 2e-3)
    ]
    runs = sweeps.plan(config, rows)
    assert [run.arm for run in runs] == ['model.depth=1'] * 2 + ['model.depth=2'] * 2
    assert all('tuned' not in run.overrides for run in runs)
    open_sweep(tmp_path / 'x', 'some.py', runs)
    listed = json.loads((tmp_path / 'x' / 'sweep.json').read_text())['runs']
    assert [row['tuned'] for row in listed] == [['train.learning_rate']] * 4


def test_whom_an_arm_is_compared_with_stands_in_the_list_and_changes_no_run(config, tmp_path):
    asked = (None, ' a ', ['a', 'b'])
    rows = [{'arm': arm, 'model.depth': depth, 'seed': seed} for depth, arm in enumerate('abc', 1) for seed in (0, 1)]
    runs = sweeps.plan(config, [row | {'against': asked[row['model.depth'] - 1]} for row in rows])
    assert [run.name for run in runs] == [run.name for run in sweeps.plan(config, rows)]
    open_sweep(tmp_path / 'x', 'some.py', runs)
    listed = json.loads((tmp_path / 'x' / 'sweep.json').read_text())['runs']
    assert [row.get('against') for row in listed] == [None] * 2 + [['a']] * 2 + [['a', 'b']] * 2


def test_a_list_that_cannot_be_read_just_now_stays_as_it_is(config, tmp_path, monkeypatch):
    """It may hold runs that this sweep has not; another moment would tell."""
    runs = sweeps.plan(config, [{'seed': 0}, {'seed': 1}])
    open_sweep(tmp_path, 'one.py', runs)
    before = (tmp_path / 'sweep.json').read_bytes()

    def busy(path, *flags):
        raise OSError(errno.EMFILE, 'Too many open files', str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'open', busy)
        with pytest.raises(StorageError, match=r'sweep\.json could not be read .*it was left as it is'):
            open_sweep(tmp_path, 'one.py', runs[:1])
    assert (tmp_path / 'sweep.json').read_bytes() == before
