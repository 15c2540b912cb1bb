import itertools

import pytest

from experiment import folder
from experiment.sweeping import schedule, sweeps
from experiment.sweeping.groups import chunk_sizes, grouped, label
from files.checksums import with_checksum
from files.writing import write_json


def test_runs_that_differ_in_seed_and_rates_train_together(config, tmp_path):
    rows = [
        {'seed': seed, 'train.learning_rate': rate, 'model.depth': depth}
        for depth, rate, seed in itertools.product((1, 2), (1e-3, 2e-3), range(3))
    ]
    runs = sweeps.plan(config, rows)
    groups = grouped(runs, tmp_path, at_most=100)
    assert [len(group) for group in groups] == [6, 6]
    assert sorted(run.name for group in groups for run in group) == sorted(run.name for run in runs)
    assert [{run.config.model.depth for run in group} for group in groups] == [{1}, {2}]
    assert [len(group) for group in grouped(runs, tmp_path, at_most=4)] == [3, 3, 3, 3]
    assert [len(group) for group in grouped(runs, tmp_path, at_most=1)] == [1] * 12


@pytest.mark.parametrize(
    'field',
    [
        'train.clip_norm', 'train.steps', 'train.batch_size', 'train.warmup', 'data.train_fraction', 'log.every',
        'checkpoint.count', 'checkpoint.select', 'model.dropout', 'model.positions.name', 'deterministic',
        'debug.check_numerics',
    ],
)  # fmt: skip
def test_what_changes_the_program_parts(config, tmp_path, field):
    others = {
        'checkpoint.select': 'last', 'model.positions.name': 'none', 'model.dropout': 0.1, 'deterministic': True,
        'train.clip_norm': 2.0, 'train.warmup': 0.2, 'data.train_fraction': 0.5, 'checkpoint.count': 3,
        'debug.check_numerics': True,
    }  # fmt: skip
    config.checkpoint.count = 2  # of one there is nothing to select
    runs = sweeps.plan(config, [{}, {field: others.get(field, 2)}])
    assert [len(group) for group in grouped(runs, tmp_path, at_most=10)] == [1, 1]


def test_runs_that_stand_at_different_steps_part(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    schedule.run_all(runs[:1], tmp_path, workers=1)
    (tmp_path / runs[0].name / 'result.json').unlink()
    assert [[run.config.seed for run in group] for group in grouped(runs, tmp_path, at_most=10)] == [[0], [1, 2]]


def test_on_a_cpu_every_run_trains_alone_unless_asked(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    assert [len(group) for group in grouped(runs, tmp_path)] == [1, 1, 1]
    assert [len(group) for group in grouped(runs, tmp_path, at_most=2)] == [2, 1]


def test_populations_that_were_begun_go_on_as_they_were_if_they_can(config, tmp_path, caplog):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(6)])
    folders = [tmp_path / run.name for run in runs]
    for one in folders:
        one.mkdir()
    folder.write_population([folders[4], folders[2], folders[0]])
    folder.write_population([folders[1], folders[4]])  # which takes a run of the first

    def seeds(of, **options):
        return [[run.config.seed for run in group] for group in grouped(of, tmp_path, **options)]

    # What the third run has become would be lost to the first three, so they part.
    assert seeds(runs, at_most=10) == [[1, 4], [0, 2, 3, 5]]
    assert seeds(runs[:4], at_most=10, finished=runs[4:]) == [[1, 4], [0, 2, 3]]
    assert seeds(runs[:4], at_most=10) == [[0, 1, 2, 3]]  # one of theirs is no run of this sweep
    folder.write_population([folders[4], folders[2], folders[0]])
    assert seeds(runs, at_most=10) == [[4, 2, 0], [1, 3, 5]]
    assert seeds(runs[:4], at_most=10, finished=runs[4:]) == [[4, 2, 0], [1, 3]]
    # Another --together, at most 2 here, would change their numbers: what had no company yet follows it alone.
    assert seeds(runs, at_most=2) == [[4, 2, 0], [1, 3], [5]]
    for names in ([runs[5].name] * 2, [runs[3].name], ['stranger', runs[5].name], [], 'x', [5]):
        write_json(folders[5] / folder.POPULATION, with_checksum({'runs': names}))
        assert seeds(runs, at_most=10) == [[4, 2, 0], [1, 3, 5]]
    assert 'damaged' not in caplog.text


def test_what_is_left_of_a_population_goes_on_together(config, tmp_path):
    """One of four finishes in company of another size, as by another --share; it stays as it is."""
    config.checkpoint.count = 4
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(4)])
    assert schedule.run_all(runs, tmp_path, workers=1, at_most=4) == {}
    for run in runs[1:]:
        (tmp_path / run.name / 'result.json').unlink()
    folder.write_population([tmp_path / runs[0].name])
    metrics = [(tmp_path / run.name / 'metrics.jsonl').read_bytes() for run in runs]
    groups = grouped(runs[1:], tmp_path, at_most=4, finished=runs[:1])
    assert [[run.config.seed for run in group] for group in groups] == [[1, 2, 3]]
    assert schedule.run_all(runs, tmp_path, workers=1, at_most=4) == {}
    assert not list(tmp_path.glob('*/checkpoints_set_aside'))
    assert [(tmp_path / run.name / 'metrics.jsonl').read_bytes() for run in runs] == metrics


def test_a_damaged_list_is_named_and_the_others_are_believed(config, tmp_path, caplog):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    folders = [tmp_path / run.name for run in runs]
    for one in folders:
        one.mkdir()
    folder.write_population([folders[2], folders[0]])
    path = folders[0] / folder.POPULATION
    path.write_text(path.read_text().replace(folders[2].name, folders[1].name))
    assert [[run.config.seed for run in group] for group in grouped(runs, tmp_path, at_most=3)] == [[2, 0], [1]]
    assert f'{path} is damaged' in caplog.text


def test_a_run_is_of_one_group_whatever_lists_name_it(config, tmp_path):
    """Its own is lost, and two others have it."""
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    folders = [tmp_path / run.name for run in runs]
    for one in folders:
        one.mkdir()
    folder.write_population([folders[0], folders[1]])
    folder.write_population([folders[2], folders[1]])
    (folders[1] / folder.POPULATION).unlink()
    assert [[run.config.seed for run in group] for group in grouped(runs, tmp_path, at_most=3)] == [[0, 1], [2]]


def test_a_run_that_began_alone_goes_on_alone(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(4)])
    schedule.run_all(runs[:2], tmp_path, workers=1, at_most=1)
    for run in runs[:2]:
        (tmp_path / run.name / 'result.json').unlink()
    groups = grouped(runs, tmp_path, at_most=4)
    assert [[run.config.seed for run in group] for group in groups] == [[0], [1], [2, 3]]


@pytest.mark.parametrize('runs', [1, 3, 8, 33])
@pytest.mark.parametrize('largest', [1, 2, 4, 8, 32, 2**30])
@pytest.mark.parametrize('devices', [1, 2, 8])
def test_chunks_hold_every_run_once_and_spread_evenly(runs, largest, devices):
    sizes = chunk_sizes(runs, largest, devices)
    assert sum(sizes) == runs
    assert all(1 <= size <= largest for size in sizes)
    if largest >= devices:
        assert sum(size for size in sizes if size % devices) < max(devices, 2) or devices == 1
    if devices == 1:
        assert len(sizes) == -(-runs // min(largest, runs))
        assert max(sizes) - min(sizes) <= 1


def test_labels_say_who_trains(config):
    runs = sweeps.plan(config, [{'arm': arm, 'seed': seed} for seed, arm in enumerate('aab')])
    assert label(runs[:1]) == 'a, seed 0'
    assert label(runs[:2]) == 'a, 2 runs together'
    assert label(runs) == 'a and 1 more arm, 3 runs together'
