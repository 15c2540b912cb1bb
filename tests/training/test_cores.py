"""Shares of a batch, each computed by a process of its own."""

import os
import signal
import time

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import data
from tests.experiments import small
from training import cores, loop
from training.cores import Team
from training.log import read_rows
from training.optimiser import Rates
from training.programs import compile_programs
from training.step import build_model, initial_state, make_train_steps
from training.track import Member

BATCH, STEPS = 16, 24


@pytest.fixture
def config():
    """With all that a step draws: crops, flips and dropout."""
    config = small()
    config.data.augment.crop, config.model.dropout, config.train.label_smoothing = 2, 0.3, 0.1
    config.train.accumulate = 1
    assert config.train.batch_size == BATCH
    return config


@pytest.fixture
def dataset(config):
    return data.load(config.data)


def rows_of(steps):
    return np.random.default_rng(0).integers(0, 100, (steps, BATCH)).astype(np.int32)


def trained(step, config, dataset, calls=2, by_step=False):
    """The state after so many calls, of two steps each."""
    state = initial_state(config, build_model(config, dataset.spec), jax.random.key(0))
    images, labels = dataset.train
    for _ in range(calls):
        rows = rows_of(2)
        batch = (images[rows], labels[rows]) if by_step else (images, labels)
        rows = np.broadcast_to(np.arange(BATCH, dtype=np.int32), rows.shape) if by_step else rows
        state = step(state, jax.random.key(1), Rates.of(config.train), *batch, rows, np.int32(2))
    return jax.device_get(state)


@pytest.mark.parametrize(
    ('fields', 'shares', 'by_step'),
    [
        ({}, 2, False),
        ({'model.positions.name': 'rope_mixed', 'train.accumulate': 4}, 2, True),
        ({'model.mixer': 'conv', 'train.clip_norm': 0.0}, 2, False),
    ],
)
def test_steps_are_those_of_one_process(config, dataset, fields, shares, by_step):
    config.update_from_flattened_dict(fields)
    with Team(config, dataset.spec, STEPS, shares) as team:
        ours = trained(team.step, config, dataset, by_step=by_step)
    config.train.accumulate = 1
    whole = jax.jit(make_train_steps(config, build_model(config, dataset.spec), STEPS))
    theirs = trained(whole, config, dataset, by_step=by_step)
    assert int(ours.step) == int(ours.sums.examples) / BATCH == 4
    assert ours.sums.correct == theirs.sums.correct
    assert ours.sums.diverged == 0
    np.testing.assert_allclose(ours.sums.loss, theirs.sums.loss, rtol=1e-5)
    # Where a gradient is all but zero, Adam turns its rounding into a step of the learning rate.
    one, other = (ravel_pytree(state.params)[0] for state in (ours, theirs))
    assert np.mean(np.abs(one - other)) < 1e-5
    assert np.max(np.abs(one - other)) < 2 * 4 * config.train.learning_rate
    gradients = [ravel_pytree(state.opt_state)[0] for state in (ours, theirs)]
    np.testing.assert_allclose(*gradients, atol=1e-4)


def test_a_team_that_comes_back_does_the_same_bit_for_bit(config, dataset):
    team, states = Team(config, dataset.spec, STEPS, 2), []
    for _ in range(2):
        with team:
            states.append(trained(team.step, config, dataset))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_step_that_diverges_is_named(config, dataset):
    config.train.learning_rate = 1e30
    with Team(config, dataset.spec, STEPS, 2) as team:
        state = trained(team.step, config, dataset)
    assert state.sums.diverged == 3  # the first moves nothing: the warm-up begins at 0


def children(team):
    return [process.pid for process in team._processes]


def is_there(pid):
    try:
        return open(f'/proc/{pid}/stat').read().split(') ')[1][0] != 'Z'
    except FileNotFoundError:
        return False


def test_each_process_has_its_cores_and_is_gone_afterwards(config, dataset):
    team = Team(config, dataset.spec, STEPS, 2)
    with team:
        pids = children(team)
        kept_to = [os.sched_getaffinity(pid) for pid in pids]
    allowed = os.sched_getaffinity(0)
    assert set.union(*kept_to) == allowed
    assert sum(map(len, kept_to)) == len(allowed)
    assert not any(map(is_there, pids))


def test_a_signal_to_all_leaves_the_step_to_who_trains(config, dataset):
    with Team(config, dataset.spec, STEPS, 2) as team:
        for pid in children(team):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert trained(team.step, config, dataset).step == 4


@pytest.mark.parametrize(
    ('signum', 'raised'), [(signal.SIGKILL, MemoryError), (signal.SIGABRT, RuntimeError)], ids=['killed', 'aborted']
)
def test_a_process_that_ends_is_named(config, dataset, signum, raised):
    with Team(config, dataset.spec, STEPS, 2) as team:
        os.kill(children(team)[1], signum)
        with pytest.raises(raised, match=rf'share 2 of 2 of a batch ended with status -{int(signum)}'):
            trained(team.step, config, dataset)


def test_what_a_process_raises_is_told(config, dataset, monkeypatch):
    model = build_model(config, dataset.spec)
    monkeypatch.setattr(cores, 'build_model', lambda config, spec: model)  # here alone
    config.model.mixer = 'no_such_mixer'
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*model.mixer='no_such_mixer'"):
        Team(config, dataset.spec, STEPS, 2).__enter__()


def run(config, folder):
    (result,) = loop.train([Member(config, folder, lambda row, steps: None)], data.load(config.data))
    return result


def test_a_run_of_shares_says_so_and_comes_to_the_same(config, tmp_path):
    results = {}
    for config.train.shares in (1, 2):
        results[config.train.shares] = run(config, tmp_path / str(config.train.shares))
    assert {shares: result['shares'] for shares, result in results.items()} == {1: 1, 2: 2}
    losses = [[row['train_loss'] for row in read_rows(tmp_path / str(shares) / 'metrics.jsonl') if 'train_loss' in row]
              for shares in results]  # fmt: skip
    np.testing.assert_allclose(*losses, rtol=1e-3)
    one, two = results.values()
    assert one['train_step_flops'] == two['train_step_flops']
    assert two['peak_memory_bytes'] > 0


def test_a_trace_is_of_one_process(config, tmp_path, monkeypatch):
    monkeypatch.setattr(cores.Team, 'start', lambda self: pytest.fail('a trace would not show them'))
    config.train.shares = 2
    member = Member(config, tmp_path, lambda row, steps: None)
    (result,) = loop.train([member], data.load(config.data), profiled=True)
    assert result['shares'] == 1
    assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_programs_that_are_dropped_leave_no_process(config, dataset):
    config.train.shares = 2
    programs = compile_programs(config, dataset, STEPS)
    pids = children(programs.team)
    assert all(map(is_there, pids))
    programs.team.close()
    deadline = time.monotonic() + 5
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_there, pids))
