"""The pages' tables are those of results/ and benchmarks/, number by number, and their links lead somewhere."""

import re

import pytest

from experiment.environment import ROOT
from experiment.sweeping import sweeps
from experiment.sweeping.sweep_file import load_sweep

README = (ROOT / 'README.md').read_text()
PAGES = [ROOT / 'README.md', *sorted(ROOT.glob('[!.]*/*.md'))]


def tables(text):
    """Each table of a page: its headings, and its rows."""
    lines = re.findall(r'(?:^\|.*\n)+', text, flags=re.MULTILINE)
    for block in lines:
        headings, _, *rows = [
            [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in block.splitlines()
        ]
        yield headings, rows


def of_page(page, *headings):
    found = tables((ROOT / page).read_text())
    (rows,) = [rows for named, rows in found if named[: len(headings)] == list(headings)]
    return rows


def of_results(name):
    headings, rows = next(tables((ROOT / 'results' / name).read_text()))
    return [dict(zip(headings, row, strict=True)) for row in rows]


def test_the_demo_s_table_is_its_result():
    kept = ['Arm', 'Test accuracy, %', 'Against best, points', 'Params', 'Forward MFLOPs']
    assert of_page('README.md', *kept) == [[row[name] for name in kept] for row in of_results('demo/table.md')]


def test_the_positions_are_those_of_their_table_sorted():
    *shown, as_large, as_wide = of_page('results/README.md', 'position', '1 head, %', '4 heads, %', 'params with 4')
    measured = {
        row['Arm']: [row['Test accuracy, %'], row['Params']] for row in of_results('positions_by_heads/table.md')
    }
    assert as_large[2:] == measured.pop('convolution 3 x 3, as many params')
    assert as_wide[2:] == measured.pop('convolution 3 x 3')
    assert {f'attention, 4 heads, {name}' for name, *_ in shown} == {arm for arm in measured if '4 heads' in arm}
    for name, one_head, *four_heads in shown:
        assert one_head == measured[f'attention, 1 head, {name}'][0], name
        assert four_heads == measured[f'attention, 4 heads, {name}'], name
    accuracies = [float(re.search(r'[\d.]+', accuracy)[0]) for _, _, accuracy, _ in shown]
    assert accuracies == sorted(accuracies)


@pytest.mark.parametrize('machine', ['Intel Xeon', 'AMD, Zen 4', 'AMD, Zen 3'])
def test_speeds_are_those_of_the_benchmark(machine):
    pages = tables((ROOT / 'docs' / 'performance.md').read_text())
    headings, shown = next((named, rows) for named, rows in pages if f'{machine}: images/s' in named)
    place = headings.index(f'{machine}: images/s')
    order = ['Intel Xeon', 'AMD, Zen 4', 'AMD, Zen 3'].index(machine)
    page = (ROOT / 'benchmarks' / 'RESULTS.md').read_text()
    named, measured = [found for found in tables(page) if 'patchwise / faster' in found[0]][order]
    # By what names a model, since the page says less of each.
    for row in shown:
        words = set(re.findall(r'\d+|ViT|ResNet|convolution', row[0]))
        (match,) = [one for one in measured if words <= set(re.findall(r'\d+|ViT|ResNet|convolution', one[0]))]
        told = dict(zip(named, match, strict=True))
        images, ratio = float(told['patchwise, images/s'].replace(',', '')), told['patchwise / faster'].split()[0]
        shown_images = float(row[place].replace(',', ''))
        assert abs(shown_images - images) <= (0 if images < 10 else 0.5), row[0]
        assert row[place + 1] == ratio, row[0]


def test_the_question_of_one_s_own_can_be_asked(tmp_path):
    (code,) = re.findall(r'```python\n(# mine\.py\n.*?)```', README, flags=re.DOTALL)
    (tmp_path / 'mine.py').write_text(code)
    namespace = {}
    exec(code, namespace)
    runs = sweeps.plan(namespace['get_config'](), *load_sweep(str(tmp_path / 'mine.py')))
    assert len(runs) == 12
    assert {run.arm: run.against for run in runs}['depthwise_conv, learned_1d'] == ('depthwise_conv, none',)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """To a file that is there, and to a heading of its page; GitHub makes anchors of headings."""
    for link in re.findall(r'\]\(([^)]+)\)', re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)):
        path, _, anchor = link.partition('#')
        if path.startswith('http'):
            continue
        there = page.parent / path if path else page
        assert there.exists(), link
        if anchor:
            headings = re.findall(r'^#+ (.*)', there.read_text(), flags=re.MULTILINE)
            assert anchor in [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings], link


def test_every_table_that_can_be_made_is_listed_and_every_result_has_its_section():
    (listed,) = [rows for headings, rows in tables(README) if 'its small form says' in headings]
    files = {f'`{path.name}`' for path in (ROOT / 'configs' / 'tables').glob('[!_]*.py')}
    assert {file for file, *_ in listed} == files
    told = re.findall(r'\]\((\w+)/', (ROOT / 'results' / 'README.md').read_text())
    assert set(told) == {path.name for path in (ROOT / 'results').iterdir() if path.is_dir()}


def test_every_promise_is_held_by_tests_that_are_there():
    named = re.findall(r'`((?:\.\./)*[\w/]+\.py)`', (ROOT / 'docs' / 'reliability.md').read_text())
    assert len(named) > 20
    for path in named:
        assert (ROOT / 'tests' / 'reliability' / path).exists(), path
