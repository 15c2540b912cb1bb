"""A trace has the steps that were asked for, whatever becomes of the run, and costs no run."""

import gzip
import json
import shlex

import jax
import jax.numpy as jnp
import pytest

from training.recording.profile import TRACED, WARM_UP, Profile

step_of = jax.jit(lambda x: jnp.tanh(x @ x))


def run(folder, dispatches, steps_each=1, fails_after=None):
    """Runs `dispatches` dispatches under a Profile and returns the result."""
    x, last = jnp.ones((8, 8)), dispatches * steps_each
    with Profile(folder, last) as profile:
        for step in range(steps_each, last + 1, steps_each):
            profile.before(step, x)
            x = step_of(x)
            profile.after(step, x)
            if step == fails_after:
                raise KeyError('the run failed')
    return x


def events(folder):
    """The names of all events in the one trace below a run's folder, with their counts."""
    (trace,) = folder.glob('profile/plugins/profile/*/perfetto_trace.json.gz')
    assert list(trace.parent.glob('*.xplane.pb')), 'what TensorBoard reads'
    return [event for event in json.loads(gzip.decompress(trace.read_bytes()))['traceEvents'] if event.get('ph') == 'X']


def traced_steps(folder):
    marks = [event for event in events(folder) if event['name'].startswith('dispatch')]
    return sorted(int(mark['args']['step_num']) for mark in marks)


def test_steady_steps_are_traced_with_what_the_device_did(tmp_path, capsys):
    folder = tmp_path / "Ann's run 1"
    run(folder, WARM_UP + TRACED + 20)
    assert traced_steps(folder) == list(range(WARM_UP + 1, WARM_UP + TRACED + 1))
    assert sum('tanh' in event['name'] for event in events(folder)) >= TRACED
    (line,) = capsys.readouterr().out.splitlines()
    (trace,) = folder.glob('**/perfetto_trace.json.gz')
    assert str(trace) in line
    assert 'https://ui.perfetto.dev' in line
    assert shlex.split(line[line.index('tensorboard') :]) == ['tensorboard', f'--logdir={folder / "profile"}']


@pytest.mark.parametrize('steps_each', [1, 7])
@pytest.mark.parametrize('dispatches', [1, WARM_UP, WARM_UP + 1, WARM_UP + TRACED])
def test_a_short_run_has_a_trace_too(tmp_path, dispatches, steps_each):
    run(tmp_path, dispatches, steps_each)
    first = min(dispatches, WARM_UP + 1)
    assert traced_steps(tmp_path) == [steps_each * number for number in range(first, dispatches + 1)]


def test_a_run_that_fails_leaves_its_trace_and_a_profiler_that_can_start_again(tmp_path):
    with pytest.raises(KeyError, match='the run failed'):
        run(tmp_path / 'failed', 40, fails_after=WARM_UP + 3)
    assert len(traced_steps(tmp_path / 'failed')) == 3
    run(tmp_path / 'next', 1)
    assert traced_steps(tmp_path / 'next') == [1]


def test_a_trace_that_cannot_be_had_costs_no_run(tmp_path, caplog):
    (tmp_path / 'profile').write_text('a file in the way')
    assert jnp.array_equal(run(tmp_path, 3), run(None, 3))
    assert 'no trace was begun' in caplog.text
    caplog.clear()
    with jax.profiler.trace(tmp_path / 'other'):
        run(tmp_path, 1)
    assert 'no trace was begun' in caplog.text


def test_nothing_is_written_unless_it_is_wanted(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    run(None, 3)
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ''


def test_a_run_without_a_step_says_so(tmp_path, caplog):
    run(tmp_path, 0)
    assert 'no step to trace' in caplog.text
