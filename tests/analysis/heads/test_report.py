"""What is printed and drawn of heads is what was measured."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from analysis import statistics
from analysis.drawing.lines import MARKERS
from analysis.heads import report
from analysis.heads.measure import Measured

ARMS, SEEDS, LAYERS, HEADS = ('wide', 'cut'), range(3), range(2), range(2)


@pytest.fixture
def measured():
    """Two arms, of one of which a run is missing: numbers differ by all that they are of."""
    heads, pruning = [], []
    for arm, seed in itertools.product(ARMS, SEEDS):
        about = {'arm': arm, 'seed': seed, 'run': f'{arm}-{seed}'}
        for layer, head in itertools.product(LAYERS, HEADS):
            row = dict.fromkeys(report.HEADINGS, 0.5) | {'layer': layer, 'head': head}
            row |= {'offset_row': -1, 'offset_column': 2, 'distance_pixels': 8.0 + 4 * layer + 2 * head + seed}
            heads.append(about | row | {'entropy_ratio': 0.3 + layer / 10 + head / 5 + seed / 20})
        for left in (0, 4):
            pruning.append(about | {'heads_left': left, 'heads': 4, 'accuracy': 0.1 + left / 5 + seed / 100})
    return Measured(pd.DataFrame(heads), pd.DataFrame(pruning), {}, (), frozenset({'cut'}))


def points(axes):
    """By whether they are hollow."""
    lines = [line for line in axes.lines if line.get_marker() in MARKERS and len(line.get_xdata())]
    return {line.get_markerfacecolor() == 'white': np.round(line.get_xydata(), 6).tolist() for line in lines}


def band(axes):
    """Its lowest and highest places at each x."""
    (path,) = [path for one in axes.collections if isinstance(one, PolyCollection) for path in one.get_paths()]
    return {x: (ys.min(), ys.max()) for x in np.unique(path.vertices[:, 0])
            for ys in [path.vertices[path.vertices[:, 0] == x, 1]]}  # fmt: skip


def test_by_layer_stand_means_over_heads_with_intervals_over_seeds(measured):
    pixels, entropy = report.distance_figure(measured).axes
    for axes, of_seeds in (
        (pixels, [[9.0 + 4 * layer + seed for seed in SEEDS] for layer in LAYERS]),
        (entropy, [[40.0 + 10 * layer + 5 * seed for seed in SEEDS] for layer in LAYERS]),
    ):
        means = [[layer, np.mean(of_seeds[layer])] for layer in LAYERS]
        assert points(axes) == {False: pytest.approx(np.array(means)), True: pytest.approx(np.array(means))}
        for layer, ends in band(axes).items():  # of the whole arm alone
            assert ends == pytest.approx(statistics.mean_and_interval(of_seeds[int(layer)])[1:3])


def test_an_arm_of_survivors_is_hollow_as_heads_are_removed(measured):
    (axes,) = report.pruning_figure(measured).axes
    means = np.array([[0, 11.0], [4, 91.0]])
    assert points(axes) == {False: pytest.approx(means), True: pytest.approx(means)}
    assert set(band(axes)) == {0, 4}


def test_shares_are_in_percent_and_offsets_are_rows_and_then_columns(measured):
    cells = report._run_cells(measured.heads).iloc[0]
    assert cells['Strongest\noffset'] == '-1, +2'
    for name in report.HEADINGS:
        heading = report.HEADINGS[name][0]
        if heading.endswith('%') or 'Lost' in heading:
            value = measured.heads.iloc[0][name]
            assert float(cells[heading]) == pytest.approx(100 * value), name
