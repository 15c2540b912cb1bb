"""Runs asked about images of other sizes: the real evaluation, on models of seconds."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import data
import models
from analysis.drawing.style import write_figure
from analysis.extrapolation import measure, report
from analysis.extrapolation.figure import extrapolation_figure
from analysis.page import charts
from analysis.reading import runs
from configs.errors import ConfigError
from experiment import folder
from files.writing import write_json
from models.patches import grid_coordinates
from tests.analysis.extrapolation.sweep import POLICIES, SEEDS, experiment, run_names
from training.saving.restore import restore_selected


def test_the_trained_resolution_is_what_training_reported(trained, found):
    at_trained = found.scores.query('resolution == 8 and arm == "attention"')
    assert len(at_trained) == SEEDS * len(POLICIES)
    for row in at_trained.itertuples():
        reported = json.loads((trained / row.run / 'result.json').read_text())['test']
        assert (row.accuracy, row.examples) == (reported['accuracy'], reported['examples'])
        assert row.loss == pytest.approx(reported['loss'], rel=1e-5)  # the runs trained, and were tested, as one


@pytest.mark.parametrize('policy', POLICIES)
def test_every_image_is_resized_and_counted_once(trained, found, policy):
    """The same from the whole split at once, resized image by image."""
    workdir = trained / run_names(trained)[1]
    config = folder.read_config(workdir)
    model, params, _ = restore_selected(config, data.spec(config.data), workdir)
    test = data.load(config.data).test
    resized = [jax.image.resize(image.astype(np.float32), (12, 12, 1), 'linear') for image in test.images]
    logits = model.apply(params, np.stack(resized), coordinates=grid_coordinates((3, 3), (2, 2), policy)).logits
    correct = np.argmax(logits, -1) == test.labels
    losses = -jax.nn.log_softmax(logits)[np.arange(50), test.labels]
    row = found.scores.query('run == @workdir.name and resolution == 12 and policy == @policy').squeeze()
    assert row.accuracy == pytest.approx(correct.mean())
    assert row.loss == pytest.approx(float(losses.mean()), rel=1e-4)
    assert (row.examples, row.tokens) == (50, 9)


def test_policies_part_where_positions_read_coordinates_and_nowhere_else(found):
    losses = found.scores.pivot(index=['arm', 'run', 'resolution'], columns='policy', values='loss')
    parts = (losses['extend'] != losses['rescale']).reset_index()
    differing = {(row.arm, row.resolution) for row in parts.itertuples() if row[-1]}
    assert differing == {('attention', 12)}


def test_a_model_at_its_own_resolution_is_left_alone():
    config = experiment()
    model = models.build(config.model, data.spec(config.data))
    assert measure.at_resolution(model, 8, 8, 4, 'rescale') is model


def test_an_image_that_shrinks_shows_what_stands_between_the_pixels_that_are_left():
    """One bright column in four, which bilinear weights alone would not meet."""

    def shown(params, images, **_):
        return models.Outputs(images.reshape(len(images), -1), {})

    model = models.Model(lambda key: {}, shown, lambda params: {}, {})
    images = np.zeros((1, 8, 8, 1), np.uint8)
    images[:, :, ::4] = 255
    small = measure.at_resolution(model, 2, 8, None, 'extend').apply({}, images).logits
    np.testing.assert_allclose(small, 255 / 4, rtol=0.35)


def test_what_is_not_finished_or_cannot_be_read_is_counted_and_named(copied):
    whole, unfinished, bare, torn, *untrained = run_names(copied)
    (copied / unfinished / 'result.json').unlink()
    shutil.rmtree(copied / bare / 'checkpoints')
    shutil.rmtree(copied / torn / 'checkpoints' / '12' / 'state')
    for name in untrained:
        shutil.rmtree(copied / name)
    found = measure.measure(copied, [8], ['extend'])
    assert found.scores['run'].to_list() == [whole]
    counts = found.summary[['n', 'runs', 'damaged', 'unfinished']].to_numpy().tolist()
    assert counts == [[1, 4, 2, 1], [0, 1, 0, 1], [0, 1, 0, 1]]
    notes = report.notes(found)
    for name, why in ((unfinished, 'unfinished'), (bare, 'has no checkpoint;'), (torn, 'damaged')):
        assert any(name in line and why in line for line in notes), name
    text = report.to_text(found)
    assert '1 of 4 (2 damaged, 1 unfinished)' in text
    assert '0 of 1 (1 unfinished)' in text
    extrapolation_figure(found.arms, found.scores)


def test_the_page_shows_the_figure_that_eval_wrote(copied, tmp_path):
    _, unfinished, bare, _, conv, _ = run_names(copied)
    shutil.rmtree(copied / unfinished)
    shutil.rmtree(copied / bare / 'checkpoints')
    shutil.rmtree(copied / conv)
    report.report(copied, ['8', '12'], None, 'test')
    picture = charts.extrapolation_curves(copied, runs.read(copied))
    for path in write_figure(picture.figure, tmp_path / 'extrapolation'):
        assert path.read_bytes() == (copied / path.name).read_bytes()
    (caption,) = (' '.join(text.get_text().split()) for text in picture.figure.texts)
    assert 'Hollow points are means over finished runs only: attention (1 damaged, 1 unfinished out of 4).' in caption
    assert 'Not drawn, because no run finished: conv (1 unfinished out of 1).' in caption


def test_a_run_alone_is_an_arm_and_nothing_left_is_one_line(trained, tmp_path):
    workdir = shutil.copytree(trained / run_names(trained)[0], tmp_path / 'alone')
    found = measure.measure(workdir, [8], ['rescale'], 'validation')
    reported = json.loads((workdir / 'result.json').read_text())['validation']
    assert found.scores['accuracy'].to_list() == [reported['accuracy']]
    assert found.summary['arm'].to_list() == ['alone']
    shutil.rmtree(workdir / 'checkpoints')
    with pytest.raises(ConfigError, match=r'alone: no run can be evaluated .*has no checkpoint'):
        measure.measure(workdir, [8], ['rescale'])


def test_a_report_prints_and_writes_what_it_measured(copied, found, capsys):
    manifest = json.loads((copied / 'sweep.json').read_text())
    write_json(copied / 'sweep.json', manifest | {'runs': manifest['runs'][:SEEDS]})
    report.report(copied, ['12', '8', '8'], ['rescale'], 'test')
    out = capsys.readouterr().out
    written = {path.name for path in copied.glob('extrapolation*')}
    assert written == {'extrapolation.md', 'extrapolation.csv', 'extrapolation_runs.csv'} | {
        'extrapolation.svg', 'extrapolation.png'
    }  # fmt: skip
    for name in written:
        assert str(copied / name) in out
    assert "'rescale'" in out
    assert "'extend'" not in out
    expected = found.summary.query("policy == 'rescale' and arm == 'attention'")
    back = pd.read_csv(copied / 'extrapolation.csv')
    assert back['accuracy'].to_list() == expected['accuracy'].to_list()
    cell = f'{expected["accuracy"].iloc[0]:.2%}'.rstrip('%')
    assert cell in out
    markdown = (copied / 'extrapolation.md').read_text()
    assert '8 px<br>4 tokens<br>(trained)' in markdown
    assert f'| {cell}' in ' '.join(markdown.split())
    for note in ('learned_1d', '12 steps of 8 images', 'jax', 'Commit', '50 images'):
        assert note in markdown, note


def test_the_figure_has_a_panel_a_policy_and_marks_the_trained_length(found):
    figure = extrapolation_figure(found.arms, found.scores)
    assert [axes.get_title() for axes in figure.axes] == ["coordinates 'extend'", "coordinates 'rescale'"]
    for axes, policy in zip(figure.axes, POLICIES, strict=True):
        points = {tuple(point) for line in axes.lines for point in np.round(line.get_xydata(), 6).tolist()}
        rows = found.summary[(found.summary['policy'] == policy) & (found.summary['arm'] == 'attention')]
        assert {(float(row.tokens), round(100 * row.accuracy, 6)) for row in rows.itertuples()} <= points
        assert axes.lines[0].get_xdata() == [4, 4]
        assert axes.get_xscale() == 'log'


def test_the_one_vertical_line_is_at_the_trained_length(found):
    for axes in extrapolation_figure(found.arms, found.scores).axes:
        dashed = [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == '--']
        assert dashed == [[4, 4]]
