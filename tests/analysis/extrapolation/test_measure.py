"""Runs asked about images of other sizes: the real evaluation, on models of seconds."""

import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import data
import models
from analysis import statistics
from analysis.drawing.style import write_figure
from analysis.extrapolation import measure, report
from analysis.extrapolation.figure import extrapolation_figure
from analysis.page import charts
from analysis.reading import runs
from configs.errors import ConfigError
from experiment import folder
from files.writing import write_json
from models.patches import grid_coordinates
from tests.analysis.extrapolation.sweep import POLICIES, SEEDS, SIDES, experiment, run_names
from training.restore import restore_selected


def test_the_trained_resolution_is_what_training_reported(trained, found):
    at_trained = found.scores.query('resolution == 8 and arm == "attention"')
    assert len(at_trained) == SEEDS * len(POLICIES)
    for row in at_trained.itertuples():
        reported = json.loads((trained / row.run / 'result.json').read_text())['test']
        assert (row.accuracy, row.examples) == (reported['accuracy'], reported['examples'])
        assert row.loss == pytest.approx(reported['loss'], rel=1e-5)  # the runs trained, and were tested, as one


def test_another_accuracy_than_training_reported_is_a_warning(trained, found):
    untrained = run_names(trained)[SEEDS:]
    assert len(found.warnings) == len(untrained)
    for name, warning in zip(untrained, found.warnings, strict=True):
        assert name in warning
        assert '33.3333% in its result.json' in warning


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


def test_the_summary_is_the_mean_over_seeds_and_its_interval(found):
    assert found.summary['arm'].drop_duplicates().to_list() == ['attention', 'conv', 'ResNet']
    assert len(found.summary) == 3 * len(SIDES) * len(POLICIES)
    for row in found.summary.itertuples():
        here = found.scores.query('arm == @row.arm and policy == @row.policy and resolution == @row.resolution')
        expected = statistics.mean_and_interval(here['accuracy'].to_list())
        np.testing.assert_equal((row.accuracy, row.low, row.high, row.n), tuple(expected))
    tokens = found.summary.query("policy == 'extend'").set_index('arm')['tokens']
    assert tokens['attention'].to_list() == tokens['conv'].to_list() == [4, 9]
    assert tokens['ResNet'].isna().all()


def test_pairs_that_the_sweep_asks_for_are_tested_at_each_resolution(copied):
    """An arm whose seeds 0 and 1 are the other's 2 and 3, so that what they differ by is known from its scores."""
    manifest = json.loads((copied / 'sweep.json').read_text())
    for seed, source in enumerate(run_names(copied)[2:SEEDS]):
        name = str(seed) * 12
        shutil.copytree(copied / source, copied / name)
        config = json.loads((copied / name / 'config.json').read_text()) | {'seed': seed}
        write_json(copied / name / 'config.json', config)
        folder.write_result(copied / name, folder.read_result(copied / name) | {'config': config, 'seed': seed})
        manifest['runs'].append({'run': name, 'arm': 'late', 'against': ['attention'], 'overrides': {'seed': seed}})
    write_json(copied / 'sweep.json', manifest)
    found = measure.measure(copied, SIDES, POLICIES)
    assert list(zip(found.pairs['policy'], found.pairs['resolution'], strict=True)) == [
        (policy, side) for side in SIDES for policy in POLICIES
    ]
    alone = {}
    for row in found.pairs.itertuples():
        here = found.scores.query('policy == @row.policy and resolution == @row.resolution')
        early, late = (here.query('arm == @arm')['accuracy'].to_numpy() for arm in ('attention', 'late'))
        assert (row.arm, row.against, row.n) == ('late', 'attention', 2)
        assert row.difference == pytest.approx(np.mean(early[2:] - early[:2]))
        alone[row.policy, row.resolution] = statistics.paired_difference(late, early[:2], 1 / 50).p_value
    # At the trained size both policies are one test; at the other they are two, corrected together.
    corrected = found.pairs.set_index(['policy', 'resolution'])['p_value']
    assert corrected[:, 8].tolist() == [alone['extend', 8]] * 2
    assert corrected[:, 12].tolist() == statistics.holm([alone[policy, 12] for policy in POLICIES])
    text = ' '.join(report.to_markdown(found).split())
    for policy in POLICIES:
        assert f"Pairs, difference in points. Coordinates '{policy}'." in text
    assert '| late | attention | ' in text
    assert 'Holm-corrected over the pairs of each image size' in text


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
    for name, why in ((unfinished, 'unfinished'), (bare, 'has no checkpoint yet'), (torn, 'damaged')):
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


@pytest.mark.parametrize(
    ('resolutions', 'policies', 'message'),
    [
        (['x'], None, r'--resolutions=x: sides in pixels would do'),
        (['0'], None, r'--resolutions=0: sides in pixels'),
        ([], None, r'--resolutions=: sides'),
        (['8'], ['extent'], r'--coordinates=extent: extend, rescale or extend,rescale would do'),
        (['8'], [], r'--coordinates=: extend'),
        (['8', '14'], None, r'--resolutions=14 is no multiple of model\.patch_size=4; 12 or 16 would do'),
        (['2'], None, r'--resolutions=2 is less than model\.patch_size=4; that or more would do'),
        (['8', '6'], None, r'--resolutions=6 is no multiple of model\.patch_size=4; 4 or 8 would do'),
        (['4100'], None, r'--resolutions=4100 makes 1,050,625 tokens of an image'),
    ],
)
def test_flags_that_cannot_work_are_named(trained, resolutions, policies, message):
    with pytest.raises(ConfigError, match=message):
        report.report(trained, resolutions, policies, 'test')


def test_images_that_are_not_square_are_refused(found):
    ready = found.evaluated[0][0]
    oblong = ready._replace(spec=ready.spec._replace(image_shape=(8, 12, 1)))
    with pytest.raises(ConfigError, match='8 x 12 pixels'):
        measure.check_resolutions([oblong], [8])


def test_what_training_said_of_the_test_set_is_held_against_no_other_split(trained):
    assert measure.measure(trained, [8], ['rescale'], 'validation').warnings == ()


def test_sides_fit_the_patches_of_every_run(found):
    one = found.evaluated[0][0]
    config = one.config.copy_and_resolve_references()
    config.model.patch_size = 6
    measure.check_resolutions([one, one._replace(config=config)], [12])
    with pytest.raises(ConfigError, match=r'--resolutions=6 is no multiple of model\.patch_size=4 and 6; 12 would do'):
        measure.check_resolutions([one, one._replace(config=config)], [6])


def test_the_one_vertical_line_is_at_the_trained_length(found):
    for axes in extrapolation_figure(found.arms, found.scores).axes:
        dashed = [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == '--']
        assert dashed == [[4, 4]]
