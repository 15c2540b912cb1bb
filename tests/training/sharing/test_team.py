"""Shares of a batch, each computed by a process of its own."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import data
from data.spec import Spec
from machine.cores import cores_allowed
from tests.experiments import small
from tests.quick import QUICKLY
from training import loop
from training import programs as programs_module
from training.optimiser import Rates
from training.programs import compile_programs
from training.recording.log import read_rows
from training.sharing import shared_memory
from training.sharing import team as team_module
from training.sharing.team import Team
from training.step import build_model, initial_state, make_train_steps
from training.strategy import can_share
from training.track import Member

BATCH, STEPS = 16, 24

pytestmark = pytest.mark.skipif(not can_share() or len(cores_allowed()) < 2, reason='takes Linux, and a core each')


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """Processes compile as this one does."""
    monkeypatch.setenv('XLA_FLAGS', QUICKLY)


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


def team_of(config, dataset, shares=2):
    return Team(config, dataset.spec, build_model(config, dataset.spec), STEPS, shares)


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
    with team_of(config, dataset, shares) as team:
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
    team, states = team_of(config, dataset), []
    for _ in range(2):
        with team:
            states.append(trained(team.step, config, dataset))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_step_that_diverges_is_named(config, dataset):
    config.train.learning_rate = 1e30
    with team_of(config, dataset) as team:
        state = trained(team.step, config, dataset)
    assert state.sums.diverged == 3  # the first moves nothing: the warm-up begins at 0


def children(team):
    return [process.pid for process in team._processes]


def is_there(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().split(') ')[1][0] != 'Z'
    except FileNotFoundError:
        return False


def are_gone(pids):
    until = time.monotonic() + 10
    while any(map(is_there, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(is_there, pids))


def test_each_process_has_its_cores_and_is_gone_afterwards(config, dataset):
    team = team_of(config, dataset)
    with team:
        pids = children(team)
        kept_to = [os.sched_getaffinity(pid) for pid in pids]
    allowed = os.sched_getaffinity(0)
    assert set.union(*kept_to) == allowed
    assert sum(map(len, kept_to)) == len(allowed)
    assert not any(map(is_there, pids))


def test_memory_may_be_larger_than_two_gibibytes():
    params = 86_000_001  # about a ViT-B's
    sizes = [4 * params, 8 * 4 * params, 128 * 224 * 224 * 3, 4 * 128]
    offsets, end = shared_memory.layout(sizes)
    assert all(offset % shared_memory.ALIGNMENT == 0 for offset in offsets)
    gaps = np.diff([*offsets, end]) - sizes
    assert np.all((gaps >= 0) & (gaps < shared_memory.ALIGNMENT))
    assert end > 2**31


@pytest.mark.parametrize('params', [26, 32])
def test_nothing_in_the_shared_memory_has_to_be_copied_to_be_read(params):
    file = os.memfd_create('test')
    memory = shared_memory.Memory.of(file, params, 3, 4, Spec('images', (5, 5, 3), 2, ('a', 'b'), flip=False))
    os.close(file)
    assert memory.gradients.shape == (3, params)
    for array in (memory.params, *memory.gradients, memory.images, memory.labels):
        assert array.flags.c_contiguous
        assert array.ctypes.data % shared_memory.ALIGNMENT == 0


def test_a_signal_to_all_leaves_the_step_to_who_trains(config, dataset):
    with team_of(config, dataset) as team:
        for pid in children(team):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        assert trained(team.step, config, dataset).step == 4


@pytest.mark.parametrize(
    ('signum', 'raised'), [(signal.SIGKILL, MemoryError), (signal.SIGABRT, RuntimeError)], ids=['killed', 'aborted']
)
def test_a_process_that_ends_is_named(config, dataset, signum, raised):
    with team_of(config, dataset) as team:
        os.kill(children(team)[1], signum)
        with pytest.raises(raised, match=rf'share 2 of 2 of a batch ended with status -{int(signum)}'):
            trained(team.step, config, dataset)


def test_what_a_process_raises_is_told(config, dataset):
    model = build_model(config, dataset.spec)
    config.model.mixer = 'no_such_mixer'
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*model.mixer='no_such_mixer'"):
        Team(config, dataset.spec, model, STEPS, 2).__enter__()


def test_a_team_that_did_not_come_back_is_no_hindrance(config, dataset):
    team = team_of(config, dataset)
    with team:
        whole = trained(team.step, config, dataset)
    team.start()
    os.kill(children(team)[1], signal.SIGKILL)
    with pytest.raises(MemoryError), team:
        pass
    with team:
        jax.tree.map(np.testing.assert_array_equal, trained(team.step, config, dataset), whole)


def test_what_cannot_start_leaves_nothing(config, dataset, monkeypatch):
    started, real = [], team_module.subprocess.Popen

    def once(*arguments, **options):
        if started:
            raise OSError('no more processes')
        started.append(real(*arguments, **options))
        return started[0]

    monkeypatch.setattr(team_module.subprocess, 'Popen', once)
    with pytest.raises(OSError, match='no more processes'):
        team_of(config, dataset).start()
    assert are_gone([started[0].pid])


def test_programs_that_cannot_be_made_leave_no_process(config, dataset, monkeypatch):
    teams = []
    real = Team.start
    monkeypatch.setattr(Team, 'start', lambda self: (real(self), teams.extend(children(self))))
    monkeypatch.setattr('training.programs.compile_evaluation', lambda *arguments: 1 / 0)
    config.train.shares, config.train.clip_norm = 2, 0.7  # programs that nobody has made
    with pytest.raises(ZeroDivisionError):
        compile_programs(config, dataset, STEPS)
    assert len(teams) == 2
    assert are_gone(teams)


SCRIPT = """
from tests.experiments import small
import data
from training.sharing.team import Team
from training.step import build_model
config = small()
config.train.accumulate = 1
spec = data.load(config.data).spec
team = Team(config, spec, build_model(config, spec), 24, 2)
team.start()
team.wait()
print(*(process.pid for process in team._processes), flush=True)
"""


@pytest.mark.parametrize('ending', ['', 'import os; os._exit(3)', 'raise SystemExit(4)', 'os.kill(os.getpid(), 9)'])
def test_whoever_ends_leaves_no_process_and_starts_no_script_anew(ending):
    """Of a script that comes through stdin, with nothing that keeps it from running twice."""
    done = subprocess.run(
        [sys.executable, '-'], input=f'import os\n{SCRIPT}\n{ending}\n', capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ''
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    assert are_gone(pids)


def test_settings_of_jax_are_those_of_whoever_trains(config, dataset):
    config.model.dropout = 0.5
    states = []
    try:
        for implementation in ('threefry2x32', 'rbg'):
            jax.config.update('jax_default_prng_impl', implementation)
            with team_of(config, dataset) as team:
                states.append(trained(team.step, config, dataset))
            whole = jax.jit(make_train_steps(config, build_model(config, dataset.spec), STEPS))
            theirs = trained(whole, config, dataset)
            np.testing.assert_allclose(states[-1].sums.loss, theirs.sums.loss, rtol=1e-5)
    finally:
        jax.config.update('jax_default_prng_impl', 'threefry2x32')
    assert states[0].sums.loss != states[1].sums.loss


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
    monkeypatch.setattr(Team, 'start', lambda self: pytest.fail('a trace would not show them'))
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
    del programs
    programs_module._slot.cache_clear()
    gc.collect()
    assert are_gone(pids)
