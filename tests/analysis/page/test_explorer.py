from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import data
from analysis.heads.attention import attention_parts
from analysis.page import explorer
from analysis.page.explorer import Wanted
from data.spec import Split


class Row:
    def __init__(self, number):
        self.number = number


def wanted(arms, seeds, size):
    rows = [Row(number) for number in range(arms)]
    return [Wanted(row, f'{row.number}-{seed}', Path(), size) for row in rows for seed in range(seeds)]


def names(chosen):
    return [one.run for one in chosen]


def test_all_runs_and_images_where_there_is_room():
    runs = wanted(3, 2, 10)
    assert explorer.fit(runs, 1000) == (runs, explorer.IMAGES, [])


def test_fewer_images_before_fewer_runs():
    runs = wanted(3, 2, 10)
    assert explorer.fit(runs, 6 * 10 * 3) == (runs, 3, [])


def test_the_first_seed_of_every_arm_goes_first():
    chosen, images, left_out = explorer.fit(wanted(3, 2, 10), 3 * 2 * 10 + 20)
    assert names(chosen) == ['0-0', '0-1', '1-0', '2-0']
    assert names(left_out) == ['1-1', '2-1']
    assert images == 2


def test_what_never_fits_is_left_out():
    runs = wanted(2, 1, 10)
    assert explorer.fit(runs, 5) == ([], 1, runs)
    assert explorer.fit([], 5)[0] == []


def test_of_a_few_images_each_is_of_another_class():
    split = Split(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.array([2, 2, 1, 1, 0, 2], np.int32))
    assert explorer.typical(split, 3).labels.tolist() == [0, 1, 2]
    assert explorer.typical(split, 3).images.ravel().tolist() == [4, 2, 0]
    assert explorer.typical(split, 5).images.ravel().tolist() == [4, 2, 0, 1, 3]


def test_a_row_of_the_table_is_what_its_headings_say():
    names = ('layer', 'head', 'distance_pixels', 'entropy', 'likeness', 'accuracy_lost')  # as report.html has them
    heads = pd.DataFrame([dict(zip(reversed(names), (0.6, np.nan, 0.4, 0.3, 2, 1), strict=True))])
    assert explorer._table(heads) == [[1, 2, 0.3, 0.4, None, 0.6]]


def test_a_guess_is_the_likeliest_class(trained):
    one = trained()
    split = explorer.typical(data.load(one.config.data).test, 4)
    probabilities = np.asarray(attention_parts(one, split.images).probabilities)
    for (name, share), of_image in zip(explorer._of_run(one, split, None, None)['guesses'], probabilities, strict=True):
        assert share == pytest.approx(of_image.max(), abs=1e-4)
        assert of_image[one.spec.class_names.index(name)] == of_image.max()
