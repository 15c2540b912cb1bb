import contextlib
import itertools
import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

import data
from files.writing import StorageError
from tests.experiments import small
from training import interruption, loop, results
from training.evaluate import compile_evaluation, evaluate
from training.interruption import Interrupted
from training.programs import compile_programs
from training.progress import UNKNOWN, Spent
from training.recording.log import MetricsLog, read_rows
from training.saving import checkpoints
from training.saving.restore import restore_selected
from training.track import Member


@pytest.fixture
def config():
    config = small()
    config.log.tensorboard = True
    return config


TIMES = (
    'rows', 'train_seconds', 'compile_seconds', 'first_step_seconds', 'images_per_second', 'flops_per_second',
    'host_gap_share',
)  # fmt: skip


def timeless(tree):
    return {name: value for name, value in tree.items() if name not in TIMES}


class Killed(Exception):
    pass


def run(config, folder, until=None, maker=UNKNOWN):
    """Trains in `folder`; with `until`, the run is cut off when it reports that step."""

    def report(row, steps):
        if until is not None and row['step'] >= until:
            raise Killed

    (result,) = loop.train([Member(config, folder, report, maker)], data.load(config.data))
    return result


def test_a_run_learns_and_says_what_it_did(config, tmp_path):
    config.data.synthetic.train_examples, config.data.augment.crop = 500, 0
    config.train.steps, config.model.dropout = 300, 0.0
    result = run(config, tmp_path)
    assert result['test']['accuracy'] > 0.8
    assert result['test']['examples'] == 37
    assert result['steps'] == 300
    assert result['images_seen'] == 300 * 16
    assert result['train_seconds'] > 0
    assert 'confusion' not in result['test']
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize('dispatch', [1, 2, 5, 100])
def test_rows_are_logged_at_the_right_steps(config, tmp_path, dispatch):
    config.train.steps_per_dispatch = dispatch
    assert run(config, tmp_path)['steps_per_dispatch'] == min(dispatch, 5)
    rows = read_rows(tmp_path / 'metrics.jsonl')
    assert [row['step'] for row in rows if 'train_loss' in row] == [5, 6, 10, 12, 15, 18, 20, 24]
    assert [row['step'] for row in rows if 'validation_loss' in row] == [6, 12, 18, 24]


def test_rows_say_how_often_every_image_was_seen_by_then(config, tmp_path):
    run(config, tmp_path)
    images = len(data.load(config.data).train.labels)
    rows = [row for row in read_rows(tmp_path / 'metrics.jsonl') if 'train_loss' in row]
    assert [row['epoch'] for row in rows] == [row['step'] * config.train.batch_size / images for row in rows]


@pytest.mark.parametrize('dispatch', [1, 2, 5])
def test_no_row_is_faster_than_its_steps(config, tmp_path, monkeypatch, dispatch):
    seconds = 0.02

    def slowly(*arguments, **options):
        programs = compile_programs(*arguments, **options)

        def train_steps(*state_and_more):
            time.sleep(seconds * int(state_and_more[-1]))
            return jax.block_until_ready(programs.train_steps(*state_and_more))

        return programs._replace(train_steps=train_steps)

    monkeypatch.setattr(loop, 'compile_programs', slowly)
    config.train.steps_per_dispatch = dispatch
    run(config, tmp_path)
    speeds = [row['images_per_second'] for row in read_rows(tmp_path / 'metrics.jsonl') if 'train_loss' in row]
    assert len(speeds) == 8
    assert max(speeds) < config.train.batch_size / seconds


@pytest.mark.parametrize('until', [8, 12, 17, 20])
def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path, until):
    whole = run(config, tmp_path / 'whole')
    with pytest.raises(Killed):
        run(config, tmp_path / 'cut', until)
    resumed = run(config, tmp_path / 'cut')
    assert timeless(whole) == timeless(resumed)
    one, other = (read_rows(tmp_path / name / 'metrics.jsonl') for name in ('whole', 'cut'))
    assert [timeless(row) for row in one] == [timeless(row) for row in other]


ALONE = {'division': {'shares': 1, 'accumulate': 1, 'runs': 1}}


def test_a_run_that_goes_on_by_other_code_says_so(config, tmp_path, caplog):
    old, new = ({'code': {'sha256': sha256}} for sha256 in ('0123', '4567'))
    for maker, until, told in ((old, 8, 0), (old, 14, 0), (new, 20, 1), (new, None, 1)):
        with pytest.raises(Killed) if until else contextlib.nullcontext():
            result = run(config, tmp_path, until, maker)
        warnings = [record.getMessage() for record in caplog.records if 'resumes from step' in record.getMessage()]
        assert len(warnings) == told
    assert 'from step 12, but not as it began (code.sha256=0123 before, 4567 now)' in warnings[0]
    assert result['begun_by'] == [old | ALONE]


def test_a_result_names_all_who_made_its_earlier_steps(config, tmp_path):
    one, two, three = ({'code': {'sha256': sha256}} for sha256 in ('0123', '4567', '89ab'))
    for maker, until in ((one, 8), (two, 14), (three, None)):
        with pytest.raises(Killed) if until else contextlib.nullcontext():
            result = run(config, tmp_path, until, maker)
    assert result['begun_by'] == [one | ALONE, two | ALONE]


def test_a_run_that_goes_on_in_other_parts_says_so(config, tmp_path, caplog):
    with pytest.raises(Killed):
        run(config, tmp_path, 14)
    config.train.accumulate = 2
    result = run(config, tmp_path)
    assert 'not as it began (division.accumulate=1 before, 2 now)' in caplog.text
    assert result['begun_by'] == [ALONE]


def test_times_are_of_all_the_processes_that_a_run_took(config, tmp_path, monkeypatch):
    """Of compilation too, which each of them has to do."""
    now = itertools.count()
    monkeypatch.setattr(loop.time, 'perf_counter', lambda: float(next(now)))
    with pytest.raises(Killed):
        run(config, tmp_path, until=14)
    before = checkpoints.read_progress(tmp_path, 12)
    after = run(config, tmp_path)
    assert after['compile_seconds'] > before.compile_seconds > 0
    assert after['train_seconds'] > before.train_seconds > 0


def test_how_long_the_device_waited_is_a_share_of_the_time_of_training(config, tmp_path, monkeypatch):
    """Of a device that is done whenever it is asked, by a clock that ticks whenever it is read."""
    now = itertools.count()
    monkeypatch.setattr(loop.time, 'perf_counter', lambda: float(next(now)))

    def at_once(*arguments, **options):
        programs = compile_programs(*arguments, **options)
        return programs._replace(train_steps=lambda *more: jax.block_until_ready(programs.train_steps(*more)))

    monkeypatch.setattr(loop, 'compile_programs', at_once)
    share = run(config, tmp_path)['host_gap_share']
    progress = checkpoints.read_progress(tmp_path, 24)
    assert progress.idle_seconds > 1
    assert share == progress.idle_seconds / progress.train_seconds < 1


def test_a_device_that_is_never_done_when_it_is_asked_did_not_wait(config, tmp_path, monkeypatch):
    monkeypatch.setattr(type(jax.numpy.zeros(())), 'is_ready', lambda array: False)
    assert run(config, tmp_path)['host_gap_share'] == 0


def test_runs_reproduce_and_seeds_differ(config, tmp_path):
    one, again = (timeless(run(config, tmp_path / name)) for name in ('one', 'again'))
    assert one == again
    config.seed = 1
    assert run(config, tmp_path / 'other')['train']['loss'] != one['train']['loss']


def test_selection_takes_the_best_on_validation_and_last_the_last(config, tmp_path):
    result = run(config, tmp_path / 'best')
    rows = [row for row in read_rows(tmp_path / 'best' / 'metrics.jsonl') if 'validation_loss' in row]
    best = max(rows, key=lambda row: (row['validation_accuracy'], -row['validation_loss'], -row['step']))
    assert result['selection']['step'] == best['step']
    assert result['validation']['accuracy'] == best['validation_accuracy']
    assert result['selection']['split'].startswith('validation: 10% of train')
    config.checkpoint.select = 'last'
    assert run(config, tmp_path / 'last')['selection'] == result['selection'] | {'rule': 'last', 'step': 24}


@pytest.mark.parametrize(('devices', 'mfu'), [(1, 0.5), (0, None)])
def test_the_share_of_the_peak_is_of_the_devices_of_all_its_starts(config, tmp_path, monkeypatch, devices, mfu):
    """First steps of older code, which did not count devices, leave it unknown."""
    config.train.steps, config.checkpoint.count, counted = 12, 2, []
    with contextlib.suppress(Killed), monkeypatch.context() as patch:
        patch.setattr(loop, 'Spent', lambda seconds, idle, count: Spent(seconds, idle, devices * count))
        run(config, tmp_path, until=7)

    def achieved(flops, steps, seconds, kind, count, dtype):
        counted.append(count)
        return {'flops_per_second': 1.0, 'mfu': 0.5}

    monkeypatch.setattr(results, 'utilisation', achieved)
    assert run(config, tmp_path)['mfu'] == mfu
    assert (counted == [1.0]) == (devices == 1)


def test_an_early_best_checkpoint_is_kept_and_tested(config, tmp_path):
    """A learning rate that ruins the params after the first checkpoint: the best one is then an old one."""
    config.train.learning_rate, config.train.clip_norm, config.train.warmup = 30.0, 0.0, 0.9
    config.train.steps, config.checkpoint.count, config.checkpoint.keep = 40, 8, 1
    result = run(config, tmp_path)
    selected = result['selection']['step']
    assert checkpoints.steps(tmp_path) == [selected, 40]
    rows = {row['step']: row for row in read_rows(tmp_path / 'metrics.jsonl') if 'validation_loss' in row}
    assert result['validation']['loss'] == rows[selected]['validation_loss'] < rows[40]['validation_loss']
    # And are what every later look at the run is at.
    dataset = data.load(config.data)
    model, params, step = restore_selected(config, dataset.spec, tmp_path)
    assert step == selected
    scores = evaluate(compile_evaluation(config, dataset.spec, model, params), params, dataset.test, 16, 10)
    assert scores['loss'] == result['test']['loss']


def test_of_equal_checkpoints_the_first_is_kept_and_tested(config, tmp_path):
    """A learning rate that moves nothing: all are the best."""
    config.train.learning_rate, config.checkpoint.keep = 1e-30, 1
    result = run(config, tmp_path)
    assert result['selection']['step'] == 6
    assert checkpoints.steps(tmp_path) == [6, 24]


def test_divergence_is_told_not_averaged(config, tmp_path):
    config.train.learning_rate, config.train.clip_norm = 1e30, 0.0
    result = run(config, tmp_path)
    assert result['status'] == 'diverged'
    assert result['diverged_step'] <= 10


def test_a_torn_last_row_is_dropped_when_a_run_goes_on(config, tmp_path):
    with pytest.raises(Killed):
        run(config, tmp_path, until=17)
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 17, "train_lo')
    run(config, tmp_path)
    steps = [row['step'] for row in read_rows(tmp_path / 'metrics.jsonl') if 'train_loss' in row]
    assert steps == [5, 6, 10, 12, 15, 18, 20, 24]


def test_tensorboard_holds_the_rows(config, tmp_path):
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import RecordWriter  # noqa: F401, the format's owner

    run(config, tmp_path)
    (path,) = tmp_path.glob('events.*')
    events, raw = [], path.read_bytes()
    while raw:
        length = int.from_bytes(raw[:8], 'little')
        events.append(event_pb2.Event.FromString(raw[12 : 12 + length]))
        raw = raw[12 + length + 4 :]
    scalars = {(event.step, value.tag): value.simple_value for event in events for value in event.summary.value}
    for row in read_rows(tmp_path / 'metrics.jsonl'):
        for name, value in row.items():
            if name != 'step':
                np.testing.assert_allclose(scalars[row['step'], name], value, rtol=1e-6)


def test_every_run_says_that_its_kernel_is_not_the_one_asked_for(config, tmp_path, caplog):
    """Also the second one of a sweep, whose programs are there already."""
    config.model.attention_kernel = 'cudnn'
    for folder in ('one', 'other'):
        caplog.clear()
        result = run(config, tmp_path / folder)
        assert 'the backend is cpu' in result['kernel_fallback']
        (told,) = [record.message for record in caplog.records if 'cudnn' in record.message]
        assert told == f"model.attention_kernel='cudnn' falls back to 'xla': {result['kernel_fallback']}"


def test_evaluating_again_gives_what_training_reported(config, tmp_path):
    result = run(config, tmp_path)
    dataset = data.load(config.data)
    model, params, step = restore_selected(config, dataset.spec, tmp_path)
    assert step == result['selection']['step']
    program = compile_evaluation(config, dataset.spec, model, params)
    for split in ('train', 'validation', 'test'):
        scores = evaluate(program, params, getattr(dataset, split), 16, 10)
        assert {name: scores[name] for name in ('accuracy', 'loss', 'examples')} == result[split]


def test_a_folder_without_checkpoints_says_so(config, tmp_path):
    from configs.errors import ConfigError
    from training.saving.restore import restore_selected

    shutil.rmtree(tmp_path / 'checkpoints', ignore_errors=True)
    with pytest.raises(ConfigError, match='no checkpoint'):
        restore_selected(config, data.spec(config.data), tmp_path)


def test_data_that_stays_on_the_host_trains_the_same(config, tmp_path, monkeypatch):
    on_device = run(config, tmp_path / 'device')
    monkeypatch.setattr(data, 'IN_MEMORY_BYTES', 0)
    on_host = run(config, tmp_path / 'host')
    assert on_host['peak_memory_bytes'] != on_device['peak_memory_bytes']  # the program is handed a batch alone
    del on_host['peak_memory_bytes'], on_device['peak_memory_bytes']
    assert timeless(on_host) == timeless(on_device)


@pytest.mark.parametrize('batch', [1, 3, 6, 8])
def test_a_signal_does_not_wait_for_all_images_to_be_scored(config, tmp_path, monkeypatch, batch):
    """A scheduler may give less time than that takes; the params are saved by then, so it is only done again."""
    config.train.eval_batch_size, seen = 20, []  # five of train, one of validation, two of test
    whole = run(config, tmp_path / 'whole')

    def score(run, state, split, between):
        def signalled():
            seen.append(split)
            if len(seen) == batch:
                interruption._requested = signal.SIGTERM
            between()

        return real(run, state, split, signalled)

    real = results.score
    monkeypatch.setattr(results, 'score', score)
    with pytest.raises(Interrupted, match='SIGTERM; the run is saved'):
        run(config, tmp_path / 'cut')
    assert len(seen) == batch
    monkeypatch.undo()
    assert interruption.requested() is None
    again = run(config, tmp_path / 'cut')
    del whole['compilation_cache'], again['compilation_cache']  # of the start that took the first step
    assert timeless(again) == timeless(whole)


def test_a_validation_loss_that_is_not_finite_is_divergence_too(config, tmp_path):
    """One step of a huge rate: the training loss was taken before it."""
    config.train.steps, config.checkpoint.count = 1, 1
    config.train.learning_rate, config.train.clip_norm, config.train.warmup = 1e38, 0.0, 0.0
    assert run(config, tmp_path)['status'] == 'diverged'
    for row in read_rows(tmp_path / 'metrics.jsonl'):
        json.dumps(row, allow_nan=False)


def test_rows_hold_the_rate_that_their_step_used(config, tmp_path):
    from training.optimiser import relative_learning_rate

    run(config, tmp_path)
    relative = relative_learning_rate(config.train, 24)
    for row in read_rows(tmp_path / 'metrics.jsonl'):
        if 'learning_rate' in row:
            expected = relative(row['step'] - 1) * config.train.learning_rate
            np.testing.assert_allclose(row['learning_rate'], expected, rtol=1e-5)


def test_bfloat16_compute_keeps_float32_params(config, tmp_path):
    import jax

    from training.saving.restore import restore_selected

    config.train.compute_dtype = 'bfloat16'
    result = run(config, tmp_path)
    assert np.isfinite(result['test']['loss'])
    _, params, _ = restore_selected(config, data.spec(config.data), tmp_path)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {'float32'}


def test_a_resumed_run_keeps_the_checkpoints_that_an_uninterrupted_one_keeps(config, tmp_path):
    config.checkpoint.keep = 1
    run(config, tmp_path / 'whole')
    with pytest.raises(Killed):
        run(config, tmp_path / 'cut', until=20)
    run(config, tmp_path / 'cut')
    one, other = (
        sorted(path.name for path in (tmp_path / name / 'checkpoints').iterdir()) for name in ('whole', 'cut')
    )
    assert one == other


def test_what_ended_a_run_goes_before_a_log_that_cannot_be_closed(config, tmp_path, monkeypatch, caplog):
    closed = []
    keep = checkpoints.Checkpoints.close
    monkeypatch.setattr(checkpoints.Checkpoints, 'close', lambda self: (closed.append(True), keep(self)))

    def full(self, *error):
        raise StorageError('metrics.jsonl could not be written')

    monkeypatch.setattr(MetricsLog, '__exit__', full)
    with pytest.raises(Killed):
        run(config, tmp_path / 'killed', 8)
    assert closed
    assert 'metrics.jsonl could not be written' in caplog.text
    with pytest.raises(StorageError, match=r'metrics\.jsonl could not'):
        run(config, tmp_path / 'whole')
