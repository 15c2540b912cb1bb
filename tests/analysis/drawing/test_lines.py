"""Line figures: what is drawn is what was given, and it can be read."""

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection

from analysis import statistics
from analysis.drawing import lines
from analysis.drawing.lines import Curve, Panel, Point, line_figure
from analysis.drawing.style import COLOURS, write_figure

SEEDS = (90.0, 92.0, 94.0)


def curve(label='arm', xs=(1.0, 2.0, 4.0), values=SEEDS, incomplete=()):
    return Curve(label, tuple(Point(x, values, x not in incomplete) for x in xs))


def figure_of(*curves, **options):
    return line_figure([Panel('accuracy, %', curves, bounds=(0.0, 100.0))], x_label='heads', **options)


def marker_lines(axes):
    return [line for line in axes.lines if line.get_marker() in lines.MARKERS]


def markers(axes, face=None):
    """Points, of one face colour if it is named."""
    chosen = [line for line in marker_lines(axes) if face is None or line.get_markerfacecolor() == face]
    return [tuple(point) for line in chosen for point in line.get_xydata().tolist()]


def bands(axes):
    collections = [one for one in axes.collections if isinstance(one, PolyCollection)]
    return [path.vertices for one in collections for path in one.get_paths()]


def test_points_stand_at_means_and_bands_at_their_intervals():
    (axes,) = figure_of(curve(), scale='log').axes
    assert markers(axes) == [(1.0, 92.0), (2.0, 92.0), (4.0, 92.0)]
    interval = statistics.mean_and_interval(SEEDS)
    (band,) = bands(axes)
    assert (band[:, 0].min(), band[:, 0].max()) == (1.0, 4.0)
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((interval.low, interval.high))


def test_one_seed_and_seeds_that_tie_have_no_band():
    for values in ((90.0,), (90.0, 90.0)):
        (axes,) = figure_of(curve(values=values)).axes
        assert len(markers(axes)) == 3
        assert not bands(axes)


def test_an_incomplete_arm_is_hollow_and_has_no_interval():
    (axes,) = figure_of(curve(incomplete=[2.0])).axes
    assert markers(axes, 'white') == [(2.0, 92.0)]
    assert markers(axes, COLOURS[0]) == [(1.0, 92.0), (4.0, 92.0)]
    # Neither neighbour has a point to share a band with: both show their interval as a bar.
    assert not any(np.ptp(band[:, 0]) for band in bands(axes))
    (bars,) = axes.containers
    assert len(bars.lines[2][0].get_segments()) == 2


def test_a_point_without_values_is_not_drawn():
    (axes,) = figure_of(Curve('arm', (Point(1.0, (90.0,)), Point(2.0, (), False))), curve('none', values=())).axes
    assert markers(axes) == [(1.0, 90.0)]


def test_curves_look_alike_in_all_panels_and_no_two_look_the_same():
    labels = [f'arm {number}' for number in range(lines.MOST_CURVES[True])]
    first, second = (Panel('', tuple(curve(label) for label in order)) for order in (labels, labels[::-1]))
    figure = line_figure([first, second], x_label='')
    looks = [
        [(line.get_color(), line.get_marker()) for line in marker_lines(axes) if len(line.get_xdata())]
        for axes in figure.axes
    ]
    assert looks[0] == looks[1][::-1]
    assert len(set(looks[0])) == len(labels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == labels


def test_curves_without_marks_are_told_apart_by_their_dashes():
    curves = tuple(curve(f'arm {number}') for number in range(lines.MOST_CURVES[False]))
    keys = line_figure([Panel('', curves)], x_label='', markers=False).legends[0].get_lines()
    assert len({(line.get_color(), str(line._dash_pattern)) for line in keys}) == len(curves)


@pytest.mark.parametrize('values', [(90.0,), SEEDS])
def test_a_curve_of_one_point_is_marked_where_others_are_not_and_so_in_the_legend(values):
    left = Curve('left', (Point(1.0, (80.0,), False), Point(2.0, (), False)))
    figure = figure_of(curve('many'), curve('one', (2.0,), values), left, markers=False)
    assert markers(figure.axes[0], COLOURS[1]) == [(2.0, sum(values) / len(values))]
    assert markers(figure.axes[0], 'white') == [(1.0, 80.0)]
    assert len(markers(figure.axes[0])) == 2
    keys = [line.get_marker() for line in figure.legends[0].get_lines()]
    assert keys == ['none', *(line.get_marker() for line in marker_lines(figure.axes[0]) if len(line.get_xdata()))]


def test_a_curve_is_marked_in_the_panel_alone_in_which_it_is_a_point():
    panels = [Panel('', (curve(xs=xs),)) for xs in ((1.0, 2.0), (1.0,))]
    figure = line_figure(panels, x_label='', markers=False)
    assert [markers(axes) for axes in figure.axes] == [[], [(1.0, 92.0)]]


@pytest.mark.parametrize('marked', [True, False])
def test_curves_beyond_the_colours_are_named_not_drawn(marked):
    most = lines.MOST_CURVES[marked]
    curves = tuple(curve(f'arm {number}') for number in range(most + 1))
    figure = line_figure([Panel('', curves)], x_label='', markers=marked)
    assert len(figure.legends[0].get_texts()) == most
    assert f'Not drawn, for want of colours: arm {most}.' in figure.texts[0].get_text()


def test_categories_stand_in_their_order_of_appearance_side_by_side():
    (axes,) = figure_of(curve('a', ('rnn', 'none')), curve('b', ('none', 'ode')), scale='category').axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ['rnn', 'none', 'ode']
    assert np.round([x for x, _ in markers(axes)]).tolist() == [0, 1, 1, 2]
    assert len({x for x, _ in markers(axes)}) == 4


def test_the_axis_stays_where_accuracies_are():
    """Two seeds that differ by 8 points have an interval of 100."""
    (axes,) = figure_of(curve(values=(91.0, 99.0))).axes
    low, high = axes.get_ylim()
    assert -3 < low < 50
    assert 99 < high < 103


def test_a_shared_axis_shows_all_panels_whole():
    panels = [Panel('', (curve(values=(value,)),), bounds=(0.0, 100.0)) for value in (90.0, 10.0)]
    figure = line_figure(panels, x_label='', share_y=True)
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < 10
        assert high > 90


LONG = [f'attention, {heads} heads, {name}, injected in every layer' for heads in (1, 4) for name in 'abc']
FIGURES = {
    'two panels': lambda: line_figure(
        [Panel('accuracy, %', (curve(), curve('b'))), Panel('speed, images/s', (curve(values=(1e5,)),))],
        x_label='heads', caption='A budget. ' * 40,
    ),
    'a logarithmic panel': lambda: line_figure(
        [Panel('accuracy, %', (curve(),)), Panel('speed', (curve(values=(1e2, 9e4)),), y_scale='log')],
        x_label='tokens', scale='log',
    ),
    'ticks': lambda: line_figure(
        [Panel('y', (curve(xs=(16, 36, 49, 64)),), 'extend'), Panel('y', (curve(xs=(16,)),), 'rescale')],
        x_label='tokens', scale='log', ticks={x: f'{x}\n{x} px' for x in (16, 36, 49, 64)}, share_y=True,
        verticals={'trained length': [16]},
    ),
    'long labels': lambda: figure_of(*map(curve, LONG), caption='Budget. ' * 50),
    'many curves': lambda: figure_of(*(curve(f'arm {n}') for n in range(21)), caption='Budget. ' * 500),
    'categories': lambda: figure_of(curve(xs=tuple(f'position_{n}' * 2 for n in range(16))), scale='category'),
    'few categories': lambda: figure_of(curve(xs=('a category of some words', 'another one')), scale='category'),
    'slanted categories': lambda: figure_of(curve(xs=tuple(f'position_{n}' for n in range(16))), scale='category'),
    'crowded ticks': lambda: figure_of(curve(xs=tuple(1000.0 + n for n in range(60)))),
    'no caption': lambda: figure_of(curve()),
    'nothing': lambda: figure_of(curve(values=())),
}  # fmt: skip


@pytest.mark.parametrize('name', FIGURES)
def test_nothing_overlaps_and_all_is_on_the_page(name):
    figure = FIGURES[name]()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    parts = [axes.get_tightbbox(renderer) for axes in figure.axes]
    parts += [part.get_window_extent(renderer) for part in (*figure.legends, *figure.texts)]
    parts = [part for part in parts if part.width]
    for part in parts:
        assert part.x0 >= 0
        assert part.y0 >= 0
        assert part.x1 <= figure.bbox.x1
        assert part.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(parts, 2):
        assert not one.overlaps(other)
    for axes in figure.axes:
        ticks = [text.get_window_extent(renderer) for text in axes.get_xticklabels() if not text.get_rotation()]
        for one, other in itertools.pairwise(ticks):
            assert not one.overlaps(other)
    assert figure.get_figwidth() == 9


def test_labels_are_text(tmp_path):
    """Never a formula, XML, or a reason to stop."""
    labels = ['$x_2$', '$', r'\frac{', '<script>', 'a & b --> c', '_private', '']
    figure = figure_of(*map(curve, labels), caption='100% $ <b>')
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == labels
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())
    svg, _ = write_figure(figure, tmp_path / 'figure')
    assert ElementTree.parse(svg).getroot().tag.endswith('svg')


def test_the_same_numbers_give_the_same_files(tmp_path):
    for name in ('one', 'other'):
        write_figure(figure_of(curve(), curve('b'), caption='Budget.'), tmp_path / name)
    for suffix in ('svg', 'png'):
        assert (tmp_path / f'one.{suffix}').read_bytes() == (tmp_path / f'other.{suffix}').read_bytes()
    assert 'dc:date' not in (tmp_path / 'one.svg').read_text()
    assert {path.name for path in tmp_path.iterdir()} == {'one.svg', 'one.png', 'other.svg', 'other.png'}


def test_a_point_whose_neighbour_shares_its_band_has_no_bar():
    (axes,) = figure_of(curve()).axes
    (bars,) = axes.containers
    assert not bars.lines[2][0].get_segments()


@pytest.mark.parametrize(
    ('number', 'text'),
    [
        (57706, '57.7k'),
        (1000, '1k'),
        (999, '999'),
        (2_812_345, '2.81M'),
        (1e9, '1G'),
        (0.25, '0.25'),
        (999_700, '1M'),
        (999.6, '1k'),
    ],
)
def test_an_axis_of_costs_says_them_in_short(number, text):
    panel = Panel('', (curve(xs=(float(number),)),), x_label='params')
    (axes,) = line_figure([panel], x_label='').axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [text]


@pytest.mark.parametrize('front', [((1.0, 50.0), (4.0, 90.0)), ((4.0, 50.0), (1.0, 90.0))])
def test_between_two_points_the_front_is_as_high_as_the_first_of_them(front):
    """Who may spend a little less than the second costs, or must be faster than it, gets the first."""
    (axes,) = line_figure([Panel('', (curve(xs=(1.0, 4.0)),), x_label='params', front=front)], x_label='').axes
    (line,) = [line for line in axes.lines if line.get_drawstyle() != 'default']
    (first, second), corners = front, line.get_path().vertices.tolist()
    assert corners == [list(first), [second[0], first[1]], list(second)]
