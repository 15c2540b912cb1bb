"""A sweep's figure: an arm is a point, and what is missing is said."""

import json

import pandas as pd
import pytest

from analysis import figures, statistics
from analysis.drawing import lines as line_figures
from analysis.reading import runs
from configs.errors import ConfigError

FIGURE = {'x': 'training examples', 'scale': 'log', 'quantities': ['test_accuracy', 'images_per_second']}
ACCURACY = {'attention': {100: (0.5, 0.6, 0.55), 400: (0.7, 0.75, 0.72)}, 'conv': {100: (0.8,), 400: (0.9,)}}


@pytest.fixture
def sweep(workdir):
    """Two curves of two arms."""
    for mixer, points in ACCURACY.items():
        for examples, accuracies in points.items():
            for seed, accuracy in enumerate(accuracies):
                add(workdir, mixer, examples, seed, accuracy=accuracy)
    return workdir


def add(workdir, mixer, examples, seed, **options):
    fields = {'model.mixer': mixer, 'data.train_examples': examples}
    folder = workdir.add(f'{mixer}, {examples}', seed, config=fields, **options)
    workdir.listed[-1] |= {'curve': mixer, 'x': examples}
    return folder


def write(workdir, **changes):
    path = workdir.write() / 'sweep.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'figure': FIGURE | changes}))
    return workdir.path


def caption(figure):
    return ' '.join(figure.texts[0].get_text().split())


def points(axes):
    lines = [line for line in axes.lines if line.get_marker() in line_figures.MARKERS]
    return [tuple(point) for line in lines for point in line.get_xydata().tolist()]


def test_an_arm_is_a_point_of_its_curve_in_each_panel(sweep):
    figure = figures.sweep_figure(runs.read(write(sweep)))
    accuracy, speed = figure.axes
    expected = [(examples, 100 * sum(a) / len(a)) for arms in ACCURACY.values() for examples, a in arms.items()]
    assert [x for x, _ in points(accuracy)] == [x for x, _ in expected]
    assert [y for _, y in points(accuracy)] == pytest.approx([y for _, y in expected])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['attention', 'conv']
    assert accuracy.get_xlabel() == 'training examples'
    assert (accuracy.get_ylabel(), speed.get_ylabel()) == ('test accuracy, %', 'training speed, images/s')
    assert accuracy.get_xscale() == 'log'
    assert {y for _, y in points(speed)} == {4121.7, 4120.7}  # means over seeds of 4120.7 + seed
    for part in ('660 steps of 128 images', '84,480 images seen', '360 test images', 'over 1 to 3 seeds', 'digits'):
        assert part in caption(figure), part
    assert 'Hollow' not in caption(figure)


@pytest.mark.parametrize(('slowest', 'scale'), [(400.0, 'log'), (2000.0, 'linear')])
def test_speeds_that_differ_several_times_stand_on_a_logarithmic_axis(slowest, scale, sweep):
    add(sweep, 'gru', 100, 0, result={'images_per_second': slowest})
    accuracy, speed = figures.sweep_figure(runs.read(write(sweep))).axes
    assert (accuracy.get_yscale(), speed.get_yscale()) == ('linear', scale)
    low, high = speed.get_ylim()
    assert (0 < low < slowest) or scale == 'linear'
    assert high > 4121.7


def test_what_did_not_finish_is_hollow_or_absent_and_named(sweep):
    add(sweep, 'attention', 400, 3, result={'status': 'diverged', 'diverged_step': 40})
    add(sweep, 'conv', 1600, 0, started=False)
    sweep.add('outside', 0, config={'model.depth': 9})
    figure = figures.sweep_figure(runs.read(write(sweep)))
    (hollow,) = [
        line.get_xydata().tolist()
        for line in figure.axes[0].lines
        if line.get_markerfacecolor() == 'white' and len(line.get_xdata())
    ]
    assert hollow == [[400, pytest.approx(100 * sum(ACCURACY['attention'][400]) / 3)]]
    assert 'Hollow points are means over finished runs only: attention, 400 (1 diverged out of 4).' in caption(figure)
    assert 'Not drawn, because no run finished: conv, 1600 (1 unfinished out of 1).' in caption(figure)
    assert 'In the table alone: outside.' in caption(figure)
    assert max(x for x, _ in points(figure.axes[0])) == 400


def test_a_report_writes_the_figure_and_its_numbers(sweep, capsys):
    add(sweep, 'conv', 400, 3, finished=False)
    path = write(sweep)
    figures.report(path, runs.read(path))
    assert capsys.readouterr().out.split() == [str(path / f'figure.{suffix}') for suffix in ('svg', 'png', 'csv')]
    table = pd.read_csv(path / 'figure.csv')
    assert table['quantity'].to_list() == ['test_accuracy', 'images_per_second'] * 4
    first = table.iloc[0]
    assert (first['arm'], first['curve'], first['x'], first['runs']) == ('attention, 100', 'attention', 100, 3)
    expected = statistics.mean_and_interval(ACCURACY['attention'][100])
    assert tuple(first[['mean', 'low', 'high', 'n']]) == tuple(expected)
    assert table.iloc[-1][['n', 'runs', 'unfinished']].to_list() == [1, 2, 1]


def test_a_sweep_without_a_figure_has_none(sweep, capsys):
    path = sweep.write()
    figures.report(path, runs.read(path))
    assert not list(path.glob('figure*'))
    assert capsys.readouterr().out == ''


def test_a_sweep_of_which_nothing_finished_still_says_so(workdir):
    add(workdir, 'conv', 100, 0, result={'status': 'diverged', 'diverged_step': 40})
    figure = figures.sweep_figure(runs.read(write(workdir)))
    assert 'conv, 100 (1 diverged out of 1)' in caption(figure)


def test_categories_may_be_numbers(sweep):
    figure = figures.sweep_figure(runs.read(write(sweep, scale='category')))
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ['100', '400']


def test_a_folder_that_cannot_be_written_is_one_line(sweep):
    path = write(sweep)
    (path / 'figure.csv').mkdir()
    with pytest.raises(ConfigError, match=r'cannot write figure\.csv'):
        figures.report(path, runs.read(path))


def test_survivors_have_a_mean_and_no_interval_in_the_numbers_either(sweep):
    add(sweep, 'attention', 400, 3, finished=False)
    table = figures.values(runs.read(write(sweep))).set_index(['arm', 'quantity'])
    row = table.loc['attention, 400', 'test_accuracy']
    assert row['mean'] == pytest.approx(sum(ACCURACY['attention'][400]) / 3)
    assert row[['low', 'high']].isna().all()
