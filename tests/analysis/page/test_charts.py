import hashlib
import itertools
import json

import numpy as np
import pytest

from analysis import tables
from analysis.page import arms, charts, heat_map, pictures
from analysis.reading import runs


def rows(workdir):
    sweep = runs.read(workdir.write())
    return arms.rows(sweep, tables.make_table(sweep))[1]


@pytest.mark.parametrize('less_is_better', [True, False])
@pytest.mark.parametrize('seed', range(5))
def test_the_front_is_what_nothing_beats_in_both(less_is_better, seed):
    draws = np.random.default_rng(seed)
    costs, values = draws.integers(0, 6, 20).astype(float), draws.integers(0, 6, 20).astype(float)
    front = charts.pareto_front(costs.tolist(), values.tolist(), less_is_better)
    sign = 1 if less_is_better else -1

    def beaten(cost, value):
        better = (sign * costs <= sign * cost) & (values >= value)
        return bool(np.any(better & ((costs != cost) | (values != value))))

    points = set(zip(costs.tolist(), values.tolist(), strict=True))
    assert set(front) == {point for point in points if not beaten(*point)}
    assert list(front) == sorted(front, key=lambda point: sign * point[0])


def test_a_map_has_the_arms_that_differ_in_positions_and_heads_alone(workdir):
    for name in ('none', 'learned_1d'):
        for count in (1, 4):
            workdir.add(f'{name} {count}', 0, 0.9, {'model.positions.name': name, 'model.num_heads': count})
    workdir.add('conv', 0, 0.9, {'model.mixer': 'conv'})
    workdir.add('deeper', 0, 0.9, {'model.depth': 9})
    (group,) = heat_map.alike(rows(workdir))
    assert set(group.rows) == {(name, count) for name in ('none', 'learned_1d') for count in (1, 4)}
    picture = heat_map.heat_map(rows(workdir))
    svg = pictures.inline(picture)
    assert [f'href="#arm-{number}"' in svg for number in range(1, 7)] == [True] * 4 + [False] * 2
    assert 'learned_1d with 4 heads 90.00%' in picture.alternative


def test_attention_by_position_alone_has_a_row_of_its_own(workdir):
    for content in (True, False):
        fields = {'model.positions.name': 'gaussian', 'model.num_heads': 1, 'model.positions.content': content}
        workdir.add(f'content {content}', 0, 0.9 if content else 0.6, fields)
    (group,) = heat_map.alike(rows(workdir))
    assert set(group.rows) == {('gaussian', 1), ('gaussian alone', 1)}
    said = heat_map.heat_map(rows(workdir)).alternative
    assert 'gaussian with 1 head 90.00%' in said
    assert 'gaussian alone with 1 head 60.00%' in said


def test_a_map_beside_others_says_what_its_arms_share(workdir):
    for depth, name in itertools.product((2, 3), ('none', 'learned_1d')):
        workdir.add(f'{name}, {depth}', 0, 0.9, {'model.positions.name': name, 'model.depth': depth})
    titles = [axes.get_title(loc='left') for axes in heat_map.heat_map(rows(workdir)).figure.axes]
    assert titles[:2] == ['model.depth=2', 'model.depth=3']


def test_a_cell_of_the_map_has_an_interval_where_every_run_finished(workdir):
    for count in (1, 4):
        for seed, accuracy in enumerate((0.97, 0.96, 0.98)):
            fields = {'model.positions.name': 'learned_1d', 'model.num_heads': count}
            workdir.add(f'{count}', seed, accuracy, fields, finished=(count, seed) != (4, 2))
    figure = heat_map.heat_map(rows(workdir)).figure
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert texts == {'97.0 ± 2.5', '96.5\n2 of 3 runs'}


def test_arms_that_chose_their_own_rates_share_a_map(workdir):
    for place, (name, count) in enumerate(itertools.product(('none', 'learned_1d'), (1, 4))):
        fields = {'model.positions.name': name, 'model.num_heads': count}
        for rate in (0.1, 0.2):
            validation = 0.9 if (rate == 0.2) == (place == 3) else 0.5
            changes = {'train.learning_rate': rate}
            workdir.add(f'{name}, {count}', 0, 0.9, fields | changes, {'validation.accuracy': validation})
            workdir.listed[-1]['tuned'] = ['train.learning_rate']
    (group,) = heat_map.alike(rows(workdir))
    assert len(group.rows) == 4
    assert {row.arm.config['train']['learning_rate'] for row in group.rows.values()} == {0.1, 0.2}


def test_survivors_are_on_no_front(workdir):
    for seed, accuracy in enumerate((0.8, 0.81)):
        workdir.add('whole', seed, accuracy)
        workdir.add('survivor', seed, 0.99, {'model.depth': 2}, finished=seed == 0)
    picture = charts.trade_offs(rows(workdir))
    assert 'whole at 80.50%' in picture.alternative
    assert 'survivor' not in picture.alternative


def test_a_sweep_without_such_arms_has_no_map(workdir):
    workdir.add('one', 0)
    workdir.add('conv', 0, config={'model.mixer': 'conv'})
    assert heat_map.heat_map(rows(workdir)) is None


def test_what_accuracy_costs_says_which_arms_are_hollow_or_absent(workdir):
    for depth, finished in ((1, 2), (2, 1), (3, 0)):
        for seed in (0, 1):
            fields, result = {'model.depth': depth}, {'params': 1000 * depth}
            workdir.add(f'depth {depth}', seed, 0.9, fields, result, finished=seed < finished)
    (caption,) = (' '.join(text.get_text().split()) for text in charts.trade_offs(rows(workdir)).figure.texts)
    assert 'Hollow points are means over finished runs only: depth 2 (1 unfinished out of 2).' in caption
    assert 'Not drawn, because no run finished: depth 3 (2 unfinished out of 2).' in caption


def test_learning_curves_leave_out_what_is_no_number(workdir):
    folder = workdir.add('an arm', 0)
    lines = [{'step': 10, 'train_loss': 2.0}, {'step': 20, 'train_loss': 1.0, 'validation_accuracy': 0.5}]
    odd = [
        '[]', '{"step": "x", "train_loss": 1}', '{"step": 30, "train_loss": "much"}', '{"step": 30, "train_loss": NaN}',
        '{"train_loss": 1}',
        '{"step": -1, "train_loss": 1}', '{"step": 30, "train_loss": true}', '{"step": 40, "tr',
    ]  # fmt: skip
    (folder / 'metrics.jsonl').write_text('\n'.join([*map(json.dumps, lines), *odd]))
    found = rows(workdir)
    log = charts._read_log(workdir.path, found[0].arm.runs[0])
    assert log == {'train_loss': {10: 2.0, 20: 1.0}, 'validation_accuracy': {20: 0.5}}
    assert charts.learning_curves(workdir.path, found) is not None


def test_a_log_that_is_not_what_the_run_wrote_has_no_curve(workdir, caplog):
    row = '{"step": 10, "train_loss": 2.0}\n'
    wrote = {'bytes': len(row), 'sha256': hashlib.sha256(row.encode()).hexdigest()}
    path = workdir.add('an arm', 0, result={'rows': wrote}) / 'metrics.jsonl'
    for content, expected in ((row, {10: 2.0}), (row.replace('2.0', '1.0'), {}), (row[:-5], {})):
        path.write_text(content)
        assert charts._read_log(workdir.path, rows(workdir)[0].arm.runs[0])['train_loss'] == expected
    assert 'is not what the run wrote' in caplog.text


def test_a_long_log_is_thinned_by_means():
    marks = charts._learning_points([{step: float(step) for step in range(1, 1001)}] * 2, 1)
    assert len(marks) == charts.MOST_POINTS
    assert np.mean([mark.values[0] for mark in marks]) == pytest.approx(500.5)
    assert all(mark.values == (mark.x, mark.x) for mark in marks)


def test_a_learning_curve_has_no_interval_where_a_run_of_its_arm_is_missing():
    """The survivors of an arm are no fair sample of it, as in the table."""
    short, long = ({step: 0.1 * step for step in range(1, last + 1)} for last in (3, 5))
    assert [mark.complete for mark in charts._learning_points([long, long], 1)] == [True] * 5
    assert [mark.complete for mark in charts._learning_points([long, short], 1)] == [True] * 3 + [False] * 2
    assert not any(mark.complete for mark in charts._learning_points([long, {}], 1))


def test_data_scaling_is_drawn_where_arms_differ_in_it(workdir):
    for fraction, examples in ((0.1, 130), (1.0, 1300)):
        for seed in (0, 1):
            result = {'train.examples': examples}
            workdir.add(f'{fraction}', seed, 0.5 + 0.4 * fraction, {'data.train_fraction': fraction}, result)
    picture = charts.scaling_curves(runs.read(workdir.write()))
    assert picture.name == 'data_scaling'
    (axes,) = picture.figure.axes
    assert axes.get_xscale() == 'log'
    assert next(tuple(line.get_xdata()) for line in axes.lines) == (130.0, 1300.0)


def test_data_scaling_is_drawn_of_arms_whose_rates_were_tuned(workdir):
    for fraction, best in ((0.1, 0.1), (1.0, 0.2)):
        for rate in (0.1, 0.2):
            for seed in (0, 1):
                fields = {'data.train_fraction': fraction, 'train.learning_rate': rate}
                result = {'train.examples': round(1300 * fraction)}
                workdir.add(f'{fraction}', seed, 0.5, fields, result | {'validation.accuracy': 0.9 - abs(rate - best)})
                workdir.listed[-1]['tuned'] = ['train.learning_rate']
    (axes,) = charts.scaling_curves(runs.read(workdir.write())).figure.axes
    assert next(tuple(line.get_xdata()) for line in axes.lines) == (130.0, 1300.0)


def test_no_data_scaling_where_they_do_not(workdir):
    workdir.add('one', 0)
    workdir.add('two', 0, config={'model.depth': 1})
    assert charts.scaling_curves(runs.read(workdir.write())) is None


def test_extrapolation_is_read_from_what_eval_left(workdir):
    run = workdir.add('an arm', 0).name
    sweep = runs.read(workdir.write())
    result = sweep.arms[0].finished[0].result.sha256
    assert charts.extrapolation_curves(workdir.path, sweep) is None
    path = workdir.path / 'extrapolation_runs.csv'
    lines = [
        f'an arm,{policy},{run},0,{result},{side},{tokens},{tokens},16,test,660,{accuracy},0.7,360,finished'
        for policy in ('extend', 'rescale')
        for side, tokens, accuracy in ((8, 16, 0.9), (12, 36, 0.5))
    ]
    heading = (
        'arm,policy,run,seed,result,resolution,tokens,patches,trained_patches,split,step,accuracy,loss,examples,status'
    )
    path.write_text('\n'.join([heading, *lines]))
    picture = charts.extrapolation_curves(workdir.path, sweep)
    assert [axes.get_title() for axes in picture.figure.axes] == ["coordinates 'extend'", "coordinates 'rescale'"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in picture.figure.axes[0].lines]
    assert ([16, 36], pytest.approx([90, 50])) in drawn
    path.write_text('no table at all')
    assert charts.extrapolation_curves(workdir.path, sweep) is None


def test_colours_and_ids_of_a_picture_are_the_page_s(workdir):
    for depth in (1, 2):
        workdir.add(f'<b>depth {depth}</b>', 0, 0.9, {'model.depth': depth}, {'params': 1000 * depth})
    svg = pictures.inline(charts.trade_offs(rows(workdir)))
    assert 'var(--ink)' in svg
    assert '#000000' not in svg
    assert '<style' not in svg
    assert '<b>' not in svg
    assert all(part.startswith('trade_offs-') for part in [text.split('"')[0] for text in svg.split(' id="')[1:]])
    assert all(part.startswith('trade_offs-') for part in [text.split(')')[0] for text in svg.split('url(#')[1:]])


def test_each_cost_has_its_own_front_and_of_speed_more_is_better(workdir):
    for depth, (label, accuracy, params, flops, speed) in enumerate((
        ('small', 0.7, 1000, 3_000_000, 500.0), ('quick', 0.6, 2000, 1_000_000, 900.0),
        ('good', 0.8, 3000, 2_000_000, 100.0),
    )):  # fmt: skip
        result = {'params': params, 'forward_flops': flops, 'images_per_second': speed}
        workdir.add(label, 0, accuracy, {'model.depth': depth + 1}, result)
    picture = charts.trade_offs(rows(workdir))
    assert picture.alternative == (
        'Pareto fronts. accuracy against params: small at 70.00%, then good at 80.00%; '
        'accuracy against flops: quick at 60.00%, then good at 80.00%; '
        'accuracy against speed: quick at 60.00%, then small at 70.00%, then good at 80.00%.'
    )
    lines = [[line.get_xdata().tolist() for line in axes.lines] for axes in picture.figure.axes]
    assert [{x for xs in of_axes if len(xs) == 1 for x in xs} for of_axes in lines] == [
        {1000, 2000, 3000},
        {3e6, 1e6, 2e6},
        {500, 900, 100},
    ]


def test_a_learning_curve_is_of_percents_and_ends_where_the_run_did(workdir):
    folder = workdir.add('an arm', 0)
    lines = [{'step': step, 'train_loss': 2.0, 'validation_accuracy': step / 40} for step in (10, 20, 30)]
    (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    picture = charts.learning_curves(workdir.path, rows(workdir))
    assert picture.alternative == 'validation accuracy, % at the end: an arm 75.'
    loss, accuracy = ([line.get_xydata().tolist() for line in axes.lines] for axes in picture.figure.axes)
    assert [[10, 2], [20, 2], [30, 2]] in loss
    assert [[10, 25], [20, 50], [30, 75]] in accuracy


@pytest.mark.parametrize('step', [1, 7, 10, 506])
def test_a_run_that_logged_one_step_has_a_mark_there_and_the_step_is_named(workdir, step):
    folder = workdir.add('an arm', 0)
    (folder / 'metrics.jsonl').write_text(json.dumps({'step': step, 'train_loss': 2.0, 'validation_accuracy': 0.5}))
    for axes, value in zip(charts.learning_curves(workdir.path, rows(workdir)).figure.axes, (2.0, 50.0), strict=True):
        marked = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() != 'none']
        assert [[step, value]] in marked
        low, high = axes.get_xlim()
        named = [text.get_text() for text in axes.get_xticklabels() if low < text.get_position()[0] < high]
        assert named == [f'{step}']


def test_survivors_are_hollow_where_accuracy_is_drawn_over_data(workdir):
    for fraction, examples in ((0.1, 130), (1.0, 1300)):
        for seed in (0, 1):
            fields, result = {'data.train_fraction': fraction}, {'train.examples': examples}
            workdir.add(f'{fraction}', seed, 0.8, fields, result, finished=(fraction, seed) != (0.1, 1))
    (axes,) = charts.scaling_curves(runs.read(workdir.write())).figure.axes
    hollow = [line.get_xydata().tolist() for line in axes.lines if line.get_markerfacecolor() == 'white']
    assert hollow == [[[130, 80]]]


def over_data(workdir, arms):
    """The figure of accuracy over data, where arms have these fields."""
    for label, fields in arms.items():
        for examples in (130, 1300):
            fields_here, result = fields | {'data.train_examples': examples}, {'train.examples': examples}
            workdir.add(f'{label}, {examples} images', 0, 0.5 + examples / 5200, fields_here, result)
    return charts.scaling_curves(runs.read(workdir.write()))


def test_a_curve_over_data_is_named_by_what_tells_it_from_the_others(workdir):
    arms = {mixer: {'model.mixer': mixer, 'model.depth': 3} for mixer in ('attention', 'conv')}
    picture = over_data(workdir, arms)
    names = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert names == ['model.mixer=attention', 'model.mixer=conv']
    assert 'model.mixer=conv 75.00% with 1,300' in picture.alternative


def test_a_curve_over_data_says_which_of_its_fields_were_tuned(workdir):
    for rate in (0.1, 0.2):
        for examples in (130, 1300):
            fields, result = {'data.train_examples': examples}, {'train.examples': examples}
            workdir.add(f'tuned, {examples}', 0, 0.9, fields | {'train.learning_rate': rate}, result)
            workdir.listed[-1]['tuned'] = ['train.learning_rate']
            if rate == 0.2:
                workdir.add(f'fixed, {examples}', 0, 0.9, fields | {'train.learning_rate': rate}, result)
    picture = charts.scaling_curves(runs.read(workdir.write()))
    names = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert names == ['train.learning_rate=tuned', 'train.learning_rate=0.2']


def test_a_single_curve_over_data_needs_no_name(workdir):
    (text,) = over_data(workdir, {'only': {}}).figure.legends[0].get_texts()
    assert text.get_text() == 'accuracy'


def test_a_cell_stands_in_the_row_of_its_positions_and_the_column_of_its_heads(workdir):
    names, counts, means = ('none', 'learned_1d', 'fourier'), (1, 4), {}
    for place, (name, count) in enumerate(itertools.product(names, counts)):
        for seed, accuracy in enumerate((0.5 + place / 20, 0.52 + place / 20)):
            workdir.add(f'{name} {count}', seed, accuracy, {'model.positions.name': name, 'model.num_heads': count})
        means[name, count] = 51 + 5 * place
    picture = heat_map.heat_map(rows(workdir))
    axes = picture.figure.axes[0]
    colours = np.reshape(axes.collections[0].get_array(), (3, 2))
    texts = {(text.get_position()[1] - 0.5, text.get_position()[0] - 0.5): text.get_text() for text in axes.texts}
    for (row, name), (column, count) in itertools.product(enumerate(names), enumerate(counts)):
        assert colours[row, column] == pytest.approx(means[name, count])
        assert texts[row, column].startswith(f'{means[name, count]:.1f} ± ')
        assert f'{name} with {count} head{"s" * (count > 1)} {means[name, count]:.2f}%' in picture.alternative
