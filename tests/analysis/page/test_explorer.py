from pathlib import Path

from analysis.page import explorer
from analysis.page.explorer import Wanted


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
