"""extrapolation_runs.csv, written and read again: what is not what eval.py wrote becomes no number."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis import output
from analysis.extrapolation import written
from analysis.extrapolation.figure import extrapolation_figure
from analysis.extrapolation.scores import Extrapolation
from analysis.reading import runs

PLACES = [(policy, side) for policy in ('extend', 'rescale') for side in (8, 12)]


def score(arm, run, policy, side, **changed):
    row = {'arm': arm.label, 'policy': policy, 'run': run.name, 'seed': run.seed, 'resolution': side}
    row['result'] = run.result.sha256
    row |= {'tokens': side**2 // 4, 'patches': side**2 // 4, 'trained_patches': 16, 'split': 'test', 'step': 660}
    return row | {'accuracy': 0.5 + side / 100 + run.seed / 1000, 'loss': 1.0, 'examples': 360} | changed


def found(arms):
    scores = [score(arm, run, *place) for arm in arms for run in arm.finished for place in PLACES]
    scores = pd.DataFrame(scores).astype({'tokens': 'Int64', 'seed': 'Int64'})
    return Extrapolation(tuple(arms), (), scores, pd.DataFrame(), pd.DataFrame(), ())


def leave(workdir, table):
    (workdir.path / written.RUNS).write_text(table if isinstance(table, str) else output.to_csv(table))


@pytest.fixture
def sweep(workdir):
    """Two arms of three runs, one of which is not finished."""
    for label, depth in (('whole', 4), ('-cut', 5)):
        for seed in range(3):
            finished = (label, seed) != ('-cut', 1)
            workdir.add(label, seed, config={'model.depth': depth}, finished=finished)
    return runs.read(workdir.write())


def statuses(arms):
    return [[run.status for run in arm.runs] for arm in arms]


def caption(arms, scores):
    return ' '.join(extrapolation_figure(arms, scores).texts[0].get_text().split())


def left_out(arm, seed, status):
    """The arm as eval.py counts it, without a run that it could not evaluate."""
    changed = [dataclasses.replace(run, status=status, result=None) if run.seed == seed else run for run in arm.runs]
    return dataclasses.replace(arm, runs=tuple(changed))


def test_what_was_written_is_read(workdir, sweep):
    whole, cut = sweep.arms
    for arms in (sweep.arms, (left_out(whole, 2, 'damaged'), cut), (left_out(whole, 0, 'unfinished'), cut)):
        measured = found(arms)
        leave(workdir, written.rows(measured))
        read, scores = written.read(workdir.path, sweep)
        assert read == measured.arms
        expected = measured.scores[scores.columns.drop('status')]
        pd.testing.assert_frame_equal(scores.drop(columns='status'), expected, check_dtype=False)
        assert caption(read, scores) == caption(measured.arms, measured.scores)


def test_a_run_that_has_changed_since_is_in_no_mean(workdir, sweep):
    whole, cut = sweep.arms
    lost = left_out(whole, 0, 'diverged')
    leave(workdir, written.rows(found(sweep.arms)))
    arms, scores = written.read(workdir.path, sweep._replace(arms=(lost, cut)))
    assert statuses(arms) == [['diverged', 'finished', 'finished'], ['finished', 'unfinished', 'finished']]
    assert whole.runs[0].name not in set(scores['run'])
    assert '1 diverged out of 3' in caption(arms, scores)


def test_a_run_that_was_trained_again_since_is_in_no_mean(workdir, sweep):
    whole, cut = sweep.arms
    first, *others = whole.runs
    again = dataclasses.replace(first, result=dataclasses.replace(first.result, sha256='0123'))
    leave(workdir, written.rows(found(sweep.arms)))
    arms, scores = written.read(
        workdir.path, sweep._replace(arms=(dataclasses.replace(whole, runs=(again, *others)), cut))
    )
    assert statuses(arms) == [['unfinished', 'finished', 'finished'], ['finished', 'unfinished', 'finished']]
    assert first.name not in set(scores['run'])


def test_a_run_that_finished_later_is_unfinished_there(workdir, sweep):
    leave(workdir, written.rows(found((left_out(sweep.arms[0], 1, 'unfinished'), sweep.arms[1]))))
    assert statuses(written.read(workdir.path, sweep)[0])[0] == ['finished', 'unfinished', 'finished']
    table = written.rows(found(sweep.arms))
    leave(workdir, table[table['run'] != sweep.arms[0].runs[1].name])
    assert statuses(written.read(workdir.path, sweep)[0])[0] == ['finished', 'unfinished', 'finished']


@pytest.mark.parametrize(
    'changed',
    [
        {'accuracy': 1.01}, {'accuracy': -0.01}, {'accuracy': float('nan')}, {'accuracy': float('inf')},
        {'policy': 'sideways'}, {'policy': 'rescale'}, {'resolution': pd.NA}, {'resolution': -12}, {'patches': 0},
        {'patches': pd.NA}, {'trained_patches': 0}, {'trained_patches': 4}, {'status': 'best'},
    ],
)  # fmt: skip
def test_a_run_with_a_row_that_makes_no_sense_is_damaged(workdir, sweep, changed):
    table = written.rows(found(sweep.arms))
    at = table.index[table['run'] == sweep.arms[0].runs[1].name][1]
    for name, value in changed.items():
        table.loc[at, name] = value
    leave(workdir, table)
    arms, scores = written.read(workdir.path, sweep)
    assert statuses(arms)[0] == ['finished', 'damaged', 'finished']
    assert sweep.arms[0].runs[1].name not in set(scores['run'])
    assert 'whole (1 damaged out of 3)' in caption(arms, scores)


def test_what_is_no_such_table_is_as_nothing(workdir, sweep, monkeypatch):
    assert written.read(workdir.path, sweep) is None
    table = written.rows(found(sweep.arms))
    for wrong in (
        '', '\n', 'no table at all', '\0' * 100, output.to_csv(table).replace('16', 'many'),
        output.to_csv(table).replace('16', '9' * 30), output.to_csv(table).replace('16', '1.5'),
        table.drop(columns='status'), table[:0], table.assign(run='another'), table.assign(split='<b>'),
        table.assign(split=['test', 'train'] * (len(table) // 2) + ['test'] * (len(table) % 2)),
    ):  # fmt: skip
        leave(workdir, wrong)
        assert written.read(workdir.path, sweep) is None
    leave(workdir, table)
    assert written.read(workdir.path, sweep) is not None
    monkeypatch.setattr(written, 'LARGEST_FILE', 10)
    assert written.read(workdir.path, sweep) is None


def test_an_arm_of_which_a_run_is_missing_is_hollow(sweep):
    for axes in extrapolation_figure(sweep.arms, found(sweep.arms).scores).axes:
        hollow = [line.get_xydata() for line in axes.lines if line.get_markerfacecolor() == 'white']
        (shown,) = [points for points in hollow if len(points)]
        assert shown == pytest.approx(np.array([[16, 58.1], [36, 62.1]]))  # of seeds 0 and 2
