"""What the file is, without a browser."""

import re
from html.parser import HTMLParser

import pytest

from analysis import tables
from analysis.heads.measure import measure_sweep
from analysis.page import arms, write
from analysis.reading import runs
from tests.analysis.page.hand_built import OFFSETS, expected_keys


class Addresses(HTMLParser):
    """Whatever an element could fetch or run."""

    def __init__(self):
        super().__init__()
        self.found, self.handlers = [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name.startswith('on'):
                self.handlers.append(value)
            if name in ('src', 'href', 'xlink:href', 'action', 'poster', 'srcset', 'data'):
                self.found.append(value)


def test_it_is_one_file_that_needs_no_other(swept):
    text = (swept / 'report.html').read_text()
    parser = Addresses()
    parser.feed(text)
    runs = {path.name for path in swept.iterdir() if path.is_dir()}
    for address in parser.found:
        beside = address.removesuffix('result.json').rstrip('/') in runs
        assert beside or address.startswith(('#', 'data:', 'figures/')), address[:80]
    assert parser.handlers == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert 'unsafe-eval' not in policy
    assert not re.search(r"script-src[^;]*'unsafe-inline'", policy)
    assert not re.search(r'url\((?!["\']?(#|data:|\$))', text)
    assert len(text) < 10_000_000


def test_figures_come_as_files_too(swept):
    names = {path.stem for path in (swept / 'figures').iterdir()}
    assert {'heat_map', 'trade_offs', 'learning_curves', 'heads', 'pruning', 'attention_map'} <= names
    assert {'positions_1_codes', 'positions_3_biases', 'positions_4_gaussians'} <= names
    for name in names:
        assert (swept / 'figures' / f'{name}.svg').stat().st_size > 0
        assert (swept / 'figures' / f'{name}.png').read_bytes().startswith(b'\x89PNG')


def test_the_same_sweep_gives_the_same_page(swept):
    before = (swept / 'report.html').read_bytes()
    *_, page = write.write(swept, runs.read(swept))
    assert page == swept / 'report.html'
    assert page.read_bytes() == before


def test_a_head_built_to_attend_to_an_offset_measures_so(swept):
    measured = measure_sweep(swept, runs.read(swept))
    built = measured.heads[measured.heads['arm'] == 'hand-built']
    assert len(built) == 2 * 2
    assert (built['entropy'] == 0).all()
    assert (built['likeness'] < 0.1).all()
    for head, offset in enumerate(OFFSETS):
        rows = built[built['head'] == head]
        keys, places = expected_keys(offset), range(16)
        away = [
            ((key // 4 - place // 4) ** 2 + (key % 4 - place % 4) ** 2) ** 0.5
            for key, place in zip(keys, places, strict=True)
        ]
        assert rows['distance_pixels'].tolist() == pytest.approx([2 * sum(away) / 16] * 2)
        assert rows[['offset_row', 'offset_column']].to_numpy().tolist() == [list(offset)] * 2


def test_a_run_alone_has_a_report(swept):
    run = next(path for path in swept.iterdir() if (path / 'checkpoints').exists())
    *_, page = write.write(run, runs.read(run))
    text = page.read_text()
    assert f'<title>{run.name} · patchwise report</title>' in text
    assert 'There is one arm, so nothing differs.' in text


def test_a_number_that_no_run_left_is_a_dash(workdir):
    workdir.add('whole', 0, 0.9)
    workdir.add('cut', 0, config={'model.depth': 1}, finished=False)
    *_, page = write.write(workdir.write(), runs.read(workdir.path))
    (article,) = re.findall(r'<article id="arm-2".*?</article>', page.read_text(), re.DOTALL)
    assert re.findall('<td class="number">(.*?)</td>', article) == ['0', '-', '-']
    (row,) = re.findall(r'<tr>\s*<td data-value="2">.*?</tr>', page.read_text(), re.DOTALL)
    texts = re.findall('<td class="number" data-value=".*?"><a href="#arm-2">(.*?)</a></td>', row)
    assert texts == ['-', 'not tested', '0 of 1 (1 unfinished)', *['-'] * 5]


def test_runs_without_checkpoints_are_named_not_drawn(workdir):
    for seed in (0, 1):
        workdir.add('only', seed, 0.9 + seed / 100)
    *_, page = write.write(workdir.write(), runs.read(workdir.path))
    text = page.read_text()
    assert 'has no checkpoint;' in text
    assert 'No run here has attention weights to show.' in text
    assert 'Nothing is known about the heads' in text


def test_the_first_lines_count_the_arms_that_are_not_shown_to_differ(three_arms):
    path = three_arms.write()
    sweep = runs.read(path)
    _, rows = arms.rows(sweep, tables.make_table(sweep))
    assert write._lead(path, rows) == (
        '3 arms, 9 runs of configs/demo.py. best has the highest mean, 97.00 ± 2.48% on the test set; '
        '1 other arm is not shown to differ from it.'
    )
