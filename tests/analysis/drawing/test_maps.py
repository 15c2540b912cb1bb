import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.drawing import maps


@pytest.mark.parametrize('count', range(1, 15))
def test_the_first_and_the_last_are_among_the_few_that_are_shown(count):
    shown = maps.evenly(count, 6)
    assert shown == sorted(set(shown))
    assert (len(shown), shown[0], shown[-1]) == (min(count, 6), 0, count - 1)
    np.testing.assert_allclose(shown, np.linspace(0, count - 1, len(shown)), atol=0.5)


@pytest.mark.parametrize('side', [3, 30])
def test_a_map_has_its_first_row_on_top_and_no_frame(side):
    """Whether it is of shapes or an image."""
    axes = Figure().add_subplot()
    values = np.arange(side * (side + 1.0)).reshape(side, side + 1)
    mesh = maps.draw_squares(axes, values, (-1.0, 900.0))
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, side + 1), (side, 0))
    np.testing.assert_array_equal(np.reshape(mesh.get_array(), values.shape), values)
    assert mesh.get_clim() == (-1.0, 900.0)
    assert not any(spine.get_visible() for spine in axes.spines.values())
    assert not [*axes.get_xticks(), *axes.get_yticks()]


@pytest.mark.parametrize('side', [3, 30])
def test_what_is_no_number_looks_like_no_number_and_not_like_paper(side):
    values = np.linspace(-1.0, 1.0, side**2).reshape(side, side)
    values[0, 0] = np.nan
    colours = maps.draw_squares(Figure().add_subplot(), values, (-1.0, 1.0)).to_rgba(values).reshape(-1, 4)
    on_paper = 1 - colours[:, 3:] * (1 - colours[:, :3])
    assert np.linalg.norm(on_paper[1:] - on_paper[0], axis=-1).min() > 0.15
    assert np.linalg.norm(1 - on_paper[0]) > 0.15


@pytest.mark.parametrize(('count', 'lines'), [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_panels_stand_in_lines_of_three_and_empty_places_are_hidden(count, lines):
    figure, axes = maps.panels(count, (3.0, 2.0), 'a note', left=0.1, below=0.04, gap=0.2, beside=0.4, share=True)
    assert len(axes) == count
    assert [place.get_visible() for place in figure.axes] == [place in axes for place in figure.axes]
    assert figure.get_size_inches() == pytest.approx((3.0 * min(3, count) + 0.4, 2.0 * lines + 0.5))
    assert [text.get_text() for text in figure.texts] == ['a note']


def test_a_colour_bar_is_level_with_the_first_map():
    with matplotlib.rc_context(maps.MAP_STYLE):
        figure = Figure(figsize=(5.0, 2.0))
        axes = figure.subplots(gridspec_kw=maps.margins(figure))
        maps.colour_bar(figure, maps.draw_squares(axes, np.eye(2), (-1.0, 1.0)), 'cosine')
    place, bar = axes.get_position(original=True), figure.axes[1].get_position()
    assert bar.y1 == pytest.approx(place.y1)
    assert place.x1 < bar.x0 < bar.x1 < 1
    assert figure.axes[1].get_ylabel() == 'cosine'
