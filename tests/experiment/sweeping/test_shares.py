"""Every run is of one share, and shares are of nearly as much work."""

import numpy as np
import pytest

from configs.errors import ConfigError
from experiment import folder
from experiment.sweeping import schedule, shares, sweeps
from experiment.sweeping.shares import Share
from training.programs import program_fields


@pytest.mark.parametrize(('text', 'share'), [('1/1', Share(1, 1)), ('2/8', Share(2, 8)), ('08/8', Share(8, 8))])
def test_a_share_is_written_as_one_of_several(text, share):
    assert shares.parse(text) == share


@pytest.mark.parametrize(
    'text', ['', '1', '0/4', '5/4', '1/0', '-1/4', '1/4/4', ' 1/4', '1/4\n', 'a/b', '1.0/4', '²/4', '1/' + 5000 * '9']
)
def test_anything_else_is_refused_with_what_would_do(text):
    with pytest.raises(ConfigError, match='K/N would do'):
        shares.parse(text)


@pytest.fixture
def quick_work(monkeypatch):
    """Without tracing a model of each program."""
    monkeypatch.setattr(shares, 'work', lambda run: run.config.model.depth)


def test_every_run_is_of_one_share_and_runs_of_a_program_part_only_where_a_share_ends(config, quick_work):
    rows = [{'seed': seed, 'model.depth': depth} for seed in range(5) for depth in (1, 2, 3)]
    runs = sweeps.plan(config, rows)
    for of in (1, 2, 4, 7, 15):
        parts = [shares.runs_of(Share(number, of), runs) for number in range(1, of + 1)]
        assert all(parts)
        assert sorted(run.name for part in parts for run in part) == sorted(run.name for run in runs)
        programs = [{str(program_fields(run.config)) for run in part} for part in parts]
        assert sum(map(len, programs)) <= 3 + of - 1


def test_shares_do_not_depend_on_the_order_of_rows(config, quick_work):
    """A config file that goes through a set has another order in each process."""
    rows = [{'seed': seed, 'model.depth': depth} for seed in range(3) for depth in (1, 2)]
    for one, other in ((rows, rows[::-1]), (rows, rows[3:] + rows[:3])):
        for number in (1, 2, 3, 4):
            parts = [shares.runs_of(Share(number, 4), sweeps.plan(config, order)) for order in (one, other)]
            assert {run.name for run in parts[0]} == {run.name for run in parts[1]}


def test_more_shares_than_runs_are_refused(config):
    with pytest.raises(ConfigError, match='--share=3/3: the sweep has 2 runs; as many shares at most would do'):
        shares.runs_of(Share(3, 3), sweeps.plan(config, [{'seed': 0}, {'seed': 1}]))
    with pytest.raises(ConfigError, match='the sweep has one run'):
        shares.runs_of(Share(1, 2), sweeps.plan(config, [{}]))


def test_no_share_is_empty_and_none_has_more_than_its_part_and_a_piece():
    generator = np.random.default_rng(0)
    for _ in range(300):
        works = [int(one) for one in generator.lognormal(5, 2, generator.integers(1, 40)) + 1]
        parts = int(generator.integers(1, len(works) + 1))
        owners = shares.divided(works, parts)
        assert owners == sorted(owners)
        assert set(owners) == set(range(parts))
        loads = np.bincount(owners, works)
        assert max(loads) <= sum(works) / parts + max(works)


def test_a_piece_of_work_is_in_the_part_that_its_middle_lies_in():
    """By where it begins, a share of this sweep would have five times the work of the other."""
    assert shares.divided([5, 5, 2], 2) == [0, 1, 1]
    assert shares.divided([2, 5, 5], 2) == [0, 0, 1]


def test_long_and_large_runs_are_more_work(config):
    """Of one run of four times the steps and four short ones, the long one is a share by itself."""
    runs = sweeps.plan(config, [{'train.steps': 16}, *({'seed': seed} for seed in range(4))])
    halves = [shares.runs_of(Share(number, 2), runs) for number in (1, 2)]
    assert sorted(map(len, halves)) == [1, 4]  # which is whose follows from their names
    (alone,) = min(halves, key=len)
    assert alone.config.train.steps == 16
    small, wide, batch = sweeps.plan(config, [{}, {'model.embed_dim': 32}, {'train.batch_size': 16}])
    assert shares.work(wide) > 2 * shares.work(small)
    assert shares.work(batch) == 2 * shares.work(small)


def test_what_is_left_to_other_shares_is_counted(config, tmp_path):
    runs = sweeps.plan(config, [{'seed': seed} for seed in range(3)])
    mine, others = runs[:1], runs[1:]
    assert shares.left(mine, runs, tmp_path) == 2
    assert schedule.run_all(others[:1], tmp_path, workers=1) == {}
    assert shares.left(mine, runs, tmp_path) == 1
    (tmp_path / others[1].name).mkdir()
    (tmp_path / others[1].name / 'checkpoints').write_text('in the way')
    assert list(schedule.run_all(others[1:], tmp_path, workers=1)) == [others[1].name]
    assert shares.left(mine, runs, tmp_path) == 0  # it failed: nobody is at it
    assert folder.read_result(tmp_path / mine[0].name) is None
