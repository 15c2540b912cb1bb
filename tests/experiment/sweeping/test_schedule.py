"""Whole sweeps: every run is trained once, in whatever company, and one that goes wrong goes wrong alone."""

import errno
import json
import math
import os
import shutil
import threading

import numpy as np
import pytest

import data
from configs.errors import ConfigError
from experiment import folder, lock
from experiment.display import Display
from experiment.sweeping import schedule, sweeps
from experiment.sweeping.groups import grouped
from experiment.sweeping.manifest import open_sweep
from files.writing import StorageError
from tests.reliability.runs import timeless
from training import programs
from training.programs import compile_programs


def results(runs, workdir):
    return [folder.read_result(workdir / run.name) for run in runs]


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(config, tmp_path):
    """One member's checkpoints cannot be written; there is one more program, so that two workers have work."""
    runs = sweeps.plan(config, [*({'seed': seed} for seed in range(3)), {'model.depth': 2}])
    open_sweep(tmp_path, 'some.py', runs)
    (tmp_path / runs[1].name).mkdir()
    (tmp_path / runs[1].name / 'checkpoints').write_text('in the way')
    troubles = schedule.run_all(runs, tmp_path, workers=2, at_most=3)
    assert list(troubles) == [runs[1].name]
    assert troubles[runs[1].name].startswith('failed: ')
    failed = json.loads((tmp_path / runs[1].name / folder.FAILED).read_text())
    assert troubles[runs[1].name] == f'failed: {failed["error"]}'
    assert 'Traceback' in failed['traceback']
    assert [result is None for result in results(runs, tmp_path)] == [False, True, False, False]

    (tmp_path / runs[1].name / 'checkpoints').unlink()
    times = {run.name: (tmp_path / run.name / folder.RESULT).stat().st_mtime_ns for run in runs if run is not runs[1]}
    assert schedule.run_all(runs, tmp_path, workers=2, at_most=3) == {}
    assert not (tmp_path / runs[1].name / folder.FAILED).exists()
    for name, time in times.items():  # the finished were not run again
        assert (tmp_path / name / folder.RESULT).stat().st_mtime_ns == time


@pytest.mark.parametrize('kind', ['a file', 'a link to nothing', 'a folder of something else', 'a note in the way'])
def test_a_folder_that_cannot_be_a_run_s_stops_no_other(config, tmp_path, kind):
    runs = sweeps.plan(config, [{'seed': 0}, {'seed': 1}])
    there = tmp_path / runs[0].name
    {
        'a file': lambda: there.write_text('in the way'),
        'a link to nothing': lambda: there.symlink_to(tmp_path / 'nothing'),
        'a folder of something else': lambda: (
            (there / 'other').mkdir(parents=True) or (there / 'other' / folder.CONFIG).write_text('{}')
        ),
        'a note in the way': lambda: (there / folder.FAILED / 'x').mkdir(parents=True),
    }[kind]()
    troubles = schedule.run_all(runs, tmp_path, workers=1)
    assert list(troubles) == [runs[0].name]
    assert troubles[runs[0].name].startswith('failed: ')
    assert folder.read_result(tmp_path / runs[1].name)['status'] == 'finished'


def test_a_full_disk_stops_all_of_them(config, tmp_path, monkeypatch):
    runs = sweeps.plan(config, [{'seed': 0}, {'seed': 1}])

    def full(path, value):
        raise StorageError.of(path, OSError(errno.ENOSPC, 'No space left on device'))

    monkeypatch.setattr(schedule, 'write_json', full)
    monkeypatch.setattr(schedule, 'execute_together', lambda *members, **options: 1 / 0)
    with pytest.raises(StorageError, match='No space left on device'):
        schedule.run_all(runs, tmp_path, workers=1)


def test_what_another_process_trains_is_told_and_its_note_left_alone(config, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'PATIENCE', 0.1)
    runs = sweeps.plan(config, [{'seed': 0}, {'seed': 1}])
    held, noted = tmp_path / runs[0].name, tmp_path / runs[0].name / folder.FAILED
    for was_there in (False, True):
        held.mkdir(exist_ok=True)
        if was_there:
            noted.write_text('{"error": "of before"}')
        with lock.locked(held):
            troubles = schedule.run_all(runs, tmp_path, workers=1)
        assert list(troubles) == [runs[0].name]
        assert f'is in use by process {os.getpid()}' in troubles[runs[0].name]
        assert noted.exists() == was_there
    assert noted.read_text() == '{"error": "of before"}'
    assert schedule.run_all(runs, tmp_path, workers=1) == {}
    assert not noted.exists()


def test_divergence_is_reported_each_time(config, tmp_path):
    config.train.clip_norm, config.train.steps = 0.0, 20
    runs = sweeps.plan(config, [{'train.learning_rate': 1e30}, {}])
    for _ in range(2):
        ((name, trouble),) = schedule.run_all(runs, tmp_path, workers=1, at_most=2).items()
        assert name == runs[0].name
        assert trouble.startswith('diverged by step')
    diverged, finished = results(runs, tmp_path)
    assert diverged['status'] == 'diverged'
    assert 'test' not in diverged
    assert finished['population'] == {'size': 2, 'processes': 1}


def test_progress_is_told_once_a_step_and_goes_on_without_a_member_that_diverged():
    told = []
    report = schedule.foremost(lambda row, steps: told.append((row['step'], row.get('train_loss'))))
    for step, losses in ((10, (0.1, 0.2)), (20, (0.2,)), (30, (0.2,))):
        for loss in losses:
            report({'step': step, 'train_loss': loss}, 30)
    report({'step': 30, 'validation_loss': 1.0, 'validation_accuracy': 0.5}, 30)
    assert told == [(10, 0.1), (20, 0.2), (30, 0.2), (30, None)]


def test_a_result_that_says_nothing_counts_as_not_run(config, tmp_path, capsys):
    runs = sweeps.plan(config, [{'seed': 0}])
    open_sweep(tmp_path, 'one.py', runs)
    folder.open_run(tmp_path / runs[0].name, runs[0].config)
    (tmp_path / runs[0].name / folder.RESULT).write_text('{}')
    assert schedule.run_all(runs, tmp_path, workers=1) == {}
    assert 'finished before' not in capsys.readouterr().err
    assert results(runs, tmp_path)[0]['status'] == 'finished'


def test_company_changes_no_result(config, tmp_path):
    """Alone, as a population, and in processes: the same rows of a table."""
    runs = sweeps.plan(config, [{'seed': seed, 'model.depth': depth} for depth in (1, 2) for seed in range(2)])
    for way, options in {'alone': (1, None), 'together': (1, 2), 'processes': (2, 2)}.items():
        assert schedule.run_all(runs, tmp_path / way, workers=options[0], at_most=options[1]) == {}
    alone, together, processes = (results(runs, tmp_path / way) for way in ('alone', 'together', 'processes'))
    assert [result['population']['size'] for result in alone] == [1] * 4
    assert [result['population'] for result in together] == [{'size': 2, 'processes': 1}] * 4
    assert [result['population'] for result in processes] == [{'size': 2, 'processes': 2}] * 4
    for one, other, third in zip(alone, together, processes, strict=True):
        assert one['config'] == other['config'] == third['config']
        for split in ('train', 'validation', 'test'):
            np.testing.assert_allclose(one[split]['loss'], other[split]['loss'], atol=1e-4)
            np.testing.assert_allclose(one[split]['loss'], third[split]['loss'], atol=1e-4)


def test_an_interrupted_population_goes_on_whole_whatever_is_asked_for(config, tmp_path, monkeypatch, capsys):
    config.checkpoint.count = 4
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    assert schedule.run_all(runs, tmp_path / 'whole', workers=1, at_most=3) == {}

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('training.loop.results', interrupt)
        with pytest.raises(KeyboardInterrupt):
            schedule.run_all(runs, tmp_path / 'cut', workers=1, at_most=3)
    capsys.readouterr()
    for run in runs:
        shutil.rmtree(tmp_path / 'cut' / run.name / 'checkpoints' / '4')
    assert schedule.run_all(runs, tmp_path / 'cut', workers=1, at_most=1) == {}
    assert 'resume as they began, whatever --together=1' in ' '.join(capsys.readouterr().err.split())
    for one, other in zip(results(runs, tmp_path / 'whole'), results(runs, tmp_path / 'cut'), strict=True):
        assert timeless(one) == timeless(other)


def test_a_population_as_large_as_was_asked_for_is_nothing_to_tell(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        schedule, 'execute_together', lambda members, processes: [{'status': 'finished'}] * len(members)
    )
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(4)])
    assert schedule.run_all(runs, tmp_path, workers=1, at_most=2) == {}
    assert 'resume as they began' not in ' '.join(capsys.readouterr().err.split())


def test_what_is_left_of_a_sweep_has_as_many_processes_as_all_of_it_had(config, tmp_path, monkeypatch):
    """So each has the cores that it had: on more of them its sums would be rounded in another order."""
    asked = []

    def in_processes(work, workdir, groups, workers, display):
        asked.append((len(groups), workers))
        return {}, []

    monkeypatch.setattr(schedule, 'in_processes', in_processes)
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    assert schedule.run_all(runs, tmp_path, workers=8) == {}
    assert schedule.run_all(runs[:1], tmp_path, workers=1) == {}
    assert schedule.run_all(runs, tmp_path, workers=8) == {}
    assert asked == [(3, 3), (2, 3)]


def test_an_accelerator_is_for_one_process_and_a_cpu_for_as_many_as_it_has_cores(monkeypatch):
    monkeypatch.setattr(schedule, 'cores_allowed', lambda: range(3))
    assert [schedule.processes(asked) for asked in (None, 1, 2, 7)] == [3, 1, 2, 7]
    monkeypatch.setattr(schedule.jax, 'default_backend', lambda: 'gpu')
    assert [schedule.processes(asked) for asked in (None, 1)] == [1, 1]
    with pytest.raises(ConfigError, match='--workers=2: one process takes all of an accelerator; 1 would do'):
        schedule.processes(2)


@pytest.mark.parametrize(('gibibytes', 'expected'), [(0.3, 1), (1.4, 1), (7.7, 8), (500, 16)])
def test_a_sweep_starts_no_more_processes_than_its_memory_holds_unless_it_is_told_to(gibibytes, expected, monkeypatch):
    monkeypatch.setattr(schedule, 'cores_allowed', lambda: range(16))
    monkeypatch.setattr(schedule.limits, 'memory', lambda: int(gibibytes * 2**30))
    assert schedule.processes(None) == expected
    assert schedule.processes(12) == 12


def test_programs_compiled_ahead_are_those_that_train(config, tmp_path):
    runs = sweeps.plan(config, [{'model.mlp_ratio': ratio} for ratio in (1.0, 1.5, 2.5, 3.0)])
    groups = grouped(runs, tmp_path / 'ahead')
    with Display(4) as display:
        assert schedule.one_by_one(groups, tmp_path / 'ahead', display, ahead=2) == {}
        assert schedule.one_by_one(groups, tmp_path / 'not', display, ahead=0) == {}
    for one, other in zip(results(runs, tmp_path / 'ahead'), results(runs, tmp_path / 'not'), strict=True):
        assert one['test'] == other['test']
    dataset = data.load(config.data)
    made_by = [compile_programs(run.config, dataset, 4).made.by for run in runs]
    assert made_by[0] == threading.get_ident()
    assert threading.get_ident() not in made_by[1:]


@pytest.mark.parametrize(('cores', 'ahead'), [(1, 3), (6, 3), (16, 8), (192, 8)])
def test_programs_compiled_ahead_are_still_there_when_their_turn_comes(cores, ahead, monkeypatch):
    monkeypatch.setattr(schedule, 'cores_allowed', lambda: range(cores))
    assert schedule.compiled_ahead() == ahead
    assert ahead + 2 <= programs.MOST_KEPT


def test_what_fails_ahead_fails_in_its_turn_alone(config, tmp_path, monkeypatch):
    runs = sweeps.plan(config, [{'model.mlp_ratio': ratio} for ratio in (1.25, 1.75, 2.25)])
    real = schedule.compile_programs

    def fails(config, *rest, **options):
        if config.model.mlp_ratio == 1.75:
            raise RuntimeError('no program')
        return real(config, *rest, **options)

    monkeypatch.setattr(schedule, 'compile_programs', fails)
    monkeypatch.setattr('training.loop.compile_programs', fails)
    with Display(3) as display:
        troubles = schedule.one_by_one([[run] for run in runs], tmp_path, display, ahead=2)
    assert troubles == {runs[1].name: 'failed: RuntimeError: no program'}


def test_a_population_that_does_not_fit_is_halved(config, tmp_path, monkeypatch):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(4)])
    dataset = data.load(config.data)
    needs = {size: schedule.memory_needed(compile_programs(config, dataset, 4, size)) for size in (2, 4)}
    assert needs[2] < needs[4]
    monkeypatch.setattr(schedule, 'memory_limit', lambda: needs[4])
    assert schedule.run_all(runs, tmp_path, workers=1, at_most=4) == {}
    assert [result['population']['size'] for result in results(runs, tmp_path)] == [2] * 4


def test_validation_counts_where_its_batches_are_larger(config):
    dataset = data.load(config.data)
    needs, trains = [], []
    for images in (1, 4096):
        config.train.eval_batch_size = images
        programs = compile_programs(config, dataset, 4, 2)
        needs.append(schedule.memory_needed(programs))
        trains.append(programs.costs.peak_memory_bytes)
    assert trains[0] == trains[1] <= needs[0]
    assert needs[1] > needs[0] + 4096 * math.prod(dataset.spec.image_shape)


def test_each_half_of_a_population_that_fails_is_told_how_many_processes_train(config, tmp_path, monkeypatch):
    """Its result says so."""
    told = []

    def fails_together(members, processes):
        told.append((len(members), processes))
        if len(members) > 1:
            raise RuntimeError('too many')
        return [{'status': 'finished'}]

    monkeypatch.setattr(schedule, 'execute_together', fails_together)
    group = sweeps.plan(config, [{'seed': seed} for seed in range(4)])
    with Display(4) as display:
        assert schedule.run_group(group, tmp_path, display.of(0), 3) == {}
        assert display.done == 4  # each run once, however often it was tried
    assert told == [(4, 3), *[(2, 3), (1, 3), (1, 3)] * 2]


def test_what_convolves_takes_longest_so_it_goes_first(config, tmp_path):
    rows = [{'model.mixer': mixer, 'seed': seed} for mixer in ('gru', 'conv') for seed in range(2)]
    order = [group[0].config for group in schedule.slowest_first(grouped(sweeps.plan(config, rows), tmp_path))]
    assert [(one.model.mixer, one.seed) for one in order] == [('conv', 0), ('conv', 1), ('gru', 0), ('gru', 1)]
