"""Runs asked about images of other sizes: the real evaluation, on models of seconds."""

import contextlib
import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import data
import models
from analysis import statistics, tables
from analysis.drawing.style import write_figure
from analysis.extrapolation import measure, report
from analysis.extrapolation.figure import extrapolation_figure
from analysis.page import charts
from analysis.reading import runs
from analysis.reading.tuning import Tried, Tuning
from analysis.wording import percent
from configs import base
from configs.errors import ConfigError
from experiment import folder, schedule, sweeps
from experiment.manifest import open_sweep
from files.writing import write_json
from models.patches import grid_coordinates
from tests.analysis.arms import markdown_rows
from training import checkpoints
from training.progress import Progress
from training.restore import restore_selected
from training.step import state_shapes

SIDES, POLICIES = [8, 12], ['extend', 'rescale']
SEEDS = 4


def experiment():
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 64, 50
    config.model.embed_dim, config.model.depth, config.model.resnet_width = 16, 1, 4
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 12, 8, 16
    config.train.learning_rate = 3e-2
    config.checkpoint.count, config.log.tensorboard = 1, False
    return config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A sweep of one arm that was trained, and two that were not, whose result.json therefore cannot be true."""
    workdir = tmp_path_factory.mktemp('runs') / 'sweep'
    rows = [{'arm': 'attention', 'model.positions.name': 'learned_1d', 'seed': seed} for seed in range(SEEDS)]
    rows += [{'arm': 'conv', 'model.mixer': 'conv', 'model.positions.name': 'none'}]
    rows += [{'arm': 'ResNet', 'model.name': 'resnet'}]
    planned = sweeps.plan(experiment(), rows)
    open_sweep(workdir, 'some.py', planned)
    assert schedule.run_all(planned[:SEEDS], workdir, workers=1) == {}
    result = folder.read_result(workdir / planned[0].name)
    for run in planned[SEEDS:]:
        leave_untrained(workdir / run.name, run.config)
        test = result['test'] | {'accuracy': 1 / 3}
        config = json.loads(run.config.to_json())
        folder.write_result(workdir / run.name, result | {'config': config, 'seed': 0, 'test': test})
    return workdir


def leave_untrained(workdir, config):
    folder.open_run(workdir, config)
    model = models.build(config.model, data.spec(config.data))
    shapes = state_shapes(config, model)
    draw = np.random.default_rng(0).normal
    state = jax.tree.map(lambda leaf: np.asarray(draw(0, 0.3, leaf.shape), leaf.dtype), shapes)
    state = state._replace(step=np.int32(12))
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        saver.save(12, state, Progress(0.0).validated(12, {'accuracy': 0.5, 'loss': 1.0}))


@pytest.fixture(scope='module')
def found(trained):
    return measure.measure(trained, SIDES, POLICIES)


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / 'sweep')


def run_names(workdir):
    return [run['run'] for run in json.loads((workdir / 'sweep.json').read_text())['runs']]


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


def test_each_arm_has_its_own_numbers_and_each_pair_those_of_its_policy(found):
    pairs = [
        (policy, 'conv', 'attention', 8, difference, difference - 0.01, difference + 0.01, 4, 0.03)
        for policy, difference in zip(POLICIES, (0.02, -0.04), strict=True)
    ]
    text = report.to_markdown(found._replace(pairs=pd.DataFrame(pairs, columns=[*measure.PAIR])))
    expected = []
    for policy, difference in zip(POLICIES, ('+2.00', '-4.00'), strict=True):
        for arm in found.arms:
            here = found.summary[(found.summary['policy'] == policy) & (found.summary['arm'] == arm.label)]
            cells = [percent(row.accuracy, row.low, row.high) for row in here.itertuples()]
            expected.append([arm.label, *cells, f'{len(arm.runs)}'])
        expected.append(['conv', 'attention', f'{difference} ± 1.00 (p = 0.030)'])
    rows = [row for row in markdown_rows(text) if row[0] != 'Arm' and ':' not in row[0]]
    assert rows == expected


def test_arms_of_one_label_have_each_its_own_row(found):
    arms = tuple(dataclasses.replace(arm, label=arm.label.replace('conv', 'attention')) for arm in found.arms)
    twins = found._replace(arms=arms, summary=found.summary.replace({'arm': {'conv': 'attention'}}))
    rows, expected = (markdown_rows(report.to_markdown(one)) for one in (twins, found))
    assert rows == [['attention' if cell == 'conv' else cell for cell in row] for row in expected]


def test_no_size_is_said_to_be_the_trained_one_where_runs_were_trained_on_several(found):
    one = found.evaluated[0][0]
    other = one._replace(spec=one.spec._replace(image_shape=(12, 12, 1)))
    assert '(trained)' in report.to_text(found)
    assert '(trained)' not in report.to_text(found._replace(evaluated=((one,), (other,))))


def test_pairs_that_both_arms_name_are_said_to_count_once(found):
    attention, conv, resnet = found.arms
    pair = ('extend', 'conv', 'attention', 8, 0.02, 0.01, 0.03, 4, 0.03)
    one_side = found._replace(pairs=pd.DataFrame([pair], columns=[*measure.PAIR]))
    one_side = one_side._replace(arms=(attention, dataclasses.replace(conv, against=('attention',)), resnet))
    both_sides = one_side._replace(arms=(dataclasses.replace(attention, against=('conv',)), *one_side.arms[1:]))
    assert '(a pair that no choice of coordinates changes counts once).' in ' '.join(report.notes(one_side))
    said = '(a pair that no choice of coordinates changes, or that both arms name, counts once).'
    assert said in ' '.join(report.notes(both_sides))


def changed(found, label, result=None, **fields):
    """`found`, where the arm of that label has other fields, and its runs another result."""

    def change(arm):
        of_arm = [dataclasses.replace(run, result=dataclasses.replace(run.result, **result or {})) for run in arm.runs]
        return dataclasses.replace(arm, runs=tuple(of_arm), **fields) if arm.label == label else arm

    return found._replace(arms=tuple(map(change, found.arms)))


def warnings_of(lines):
    return [line for line in lines if line.startswith('Warning')]


def test_what_was_tried_for_tuned_arms_is_said_as_under_the_table(found):
    tried = tuple(Tried((rate,), accuracy) for rate, accuracy in ((0.1, 0.5), (0.2, 0.7)))
    tuned = changed(found, 'attention', tuning=Tuning(('train.learning_rate',), tried, 1))
    lines = report.notes(tuned)
    assert 'attention: 0.2, at an end of the range, out of 0.1 (50.00%), 0.2 (70.00%).' in ' '.join(lines)
    assert 'Warning: more settings were tried for some arms than for others.' in lines
    assert not any('tried' in line for line in report.notes(found))


def test_widths_that_were_solved_are_said_as_under_the_table(found):
    solved = {'width': {'embed_dim': 52}, 'reference': ('params', 138_890), 'params': 139_446}
    said = 'Widths were computed to match a reference arm. conv: embed_dim 52 (reference 138,890 params; +0.4%).'
    assert said in report.notes(changed(found, 'conv', solved))
    assert not any('Widths' in line for line in report.notes(found))


def test_arms_that_were_tested_on_different_data_stand_under_a_warning(found):
    assert 'different data' not in ' '.join(report.notes(found))
    other = changed(found, 'conv', {'fingerprints': {'test': 'another'}})
    assert 'Warning: the arms were tested on different data.' in report.notes(other)
    elsewhere = changed(found, 'conv', {'fingerprints': {'validation': 'another'}})
    assert 'different data' not in ' '.join(report.notes(elsewhere))


def test_a_pair_that_is_not_tested_is_explained(found):
    tested = ('extend', 'conv', 'attention', 8, 0.02, 0.01, 0.03, 4, 0.03)
    untested = ('extend', 'conv', 'attention', 12, *[float('nan')] * 3, 0, None)
    sentence = (
        'Pairs with an unfinished run, with different test images, or with fewer than two seeds in common are not '
        'tested.'
    )
    for rows, explained, said_of_p in (([tested], 0, 1), ([tested, untested], 1, 1), ([untested], 1, 0)):
        text = ' '.join(report.notes(found._replace(pairs=pd.DataFrame(rows, columns=[*measure.PAIR]))))
        assert text.count(sentence) == explained
        assert text.count('a two-sided t-test') == text.count('one test image is taken in its place') == said_of_p


def test_what_the_table_warns_of_is_warned_of_beside_other_resolutions(copied):
    first, _, _, late, *_ = run_names(copied)
    for name, change in ((first, {'params': 7}), (late, {'git': {'commit': 'f' * 40}, 'code': None})):
        folder.write_result(copied / name, folder.read_result(copied / name) | change)
    manifest = json.loads((copied / 'sweep.json').read_text())
    manifest['runs'][0]['against'] = ['nobody']
    write_json(copied / 'sweep.json', manifest)
    under_the_table = warnings_of(tables.make_table(runs.read(copied)).notes)
    assert [any(word in line for line in under_the_table) for word in ('params', 'code', 'nobody', 'seeds')] == [
        True
    ] * 4
    beside = warnings_of(report.notes(measure.measure(copied, [8], ['extend'])))
    assert beside[: len(under_the_table)] == under_the_table


def test_an_arm_alone_needs_no_warning(copied):
    manifest = json.loads((copied / 'sweep.json').read_text())
    write_json(copied / 'sweep.json', manifest | {'runs': manifest['runs'][:SEEDS]})
    assert warnings_of(report.notes(measure.measure(copied, [8], ['extend']))) == []


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
