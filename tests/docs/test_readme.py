"""The README's tables are those of results/ and benchmarks/, number by number."""

import re
from pathlib import Path

import pytest

from experiment import sweeps

ROOT = Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text()


def tables(text):
    """Each table of a page: its headings, and its rows."""
    lines = re.findall(r'(?:^\|.*\n)+', text, flags=re.MULTILINE)
    for block in lines:
        headings, _, *rows = [
            [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in block.splitlines()
        ]
        yield headings, rows


def of_readme(*headings):
    (found,) = [rows for named, rows in tables(README) if named[: len(headings)] == list(headings)]
    return found


def of_results(name):
    headings, rows = next(tables((ROOT / 'results' / name).read_text()))
    return [dict(zip(headings, row, strict=True)) for row in rows]


def test_the_demo_s_table_is_its_result():
    kept = ['Arm', 'Test accuracy, %', 'Against best, points', 'Params', 'Forward MFLOPs']
    assert of_readme(*kept) == [[row[name] for name in kept] for row in of_results('demo/table.md')]


def test_the_positions_are_those_of_their_table_sorted():
    *shown, convolution = of_readme('position', '1 head, %', '4 heads, %', 'params with 4')
    measured = {
        row['Arm']: [row['Test accuracy, %'], row['Params']] for row in of_results('positions_by_heads/table.md')
    }
    assert convolution[2:] == measured.pop('convolution 3 x 3')
    assert {f'attention, 4 heads, {name}' for name, *_ in shown} == {arm for arm in measured if '4 heads' in arm}
    for name, one_head, *four_heads in shown:
        assert one_head == measured[f'attention, 1 head, {name}'][0], name
        assert four_heads == measured[f'attention, 4 heads, {name}'], name
    accuracies = [float(re.search(r'[\d.]+', accuracy)[0]) for _, _, accuracy, _ in shown]
    assert accuracies == sorted(accuracies)


@pytest.mark.parametrize('machine', ['AMD, Zen 4', 'AMD, Zen 3', 'Intel Xeon'])
def test_speeds_are_those_of_the_benchmark(machine):
    headings, shown = next((named, rows) for named, rows in tables(README) if f'{machine}: images/s' in named)
    place = headings.index(f'{machine}: images/s')
    order = ['AMD, Zen 4', 'AMD, Zen 3', 'Intel Xeon'].index(machine)
    page = (ROOT / 'benchmarks' / 'RESULTS.md').read_text()
    measured = [rows for named, rows in tables(page) if 'patchwise / faster' in named][order]
    # By what names a model, since the README says less of each.
    for row in shown:
        words = set(re.findall(r'\d+|ViT|ResNet|convolution', row[0]))
        (match,) = [one for one in measured if words <= set(re.findall(r'\d+|ViT|ResNet|convolution', one[0]))]
        images, ratio = float(match[3].replace(',', '')), match[8].split()[0]
        shown_images = float(row[place].replace(',', ''))
        assert abs(shown_images - images) <= (0 if images < 10 else 0.5), row[0]
        assert row[place + 1] == ratio, row[0]


def test_the_question_of_one_s_own_can_be_asked(tmp_path):
    (code,) = re.findall(r'```python\n(# mine\.py\n.*?)```', README, flags=re.DOTALL)
    (tmp_path / 'mine.py').write_text(code)
    namespace = {}
    exec(code, namespace)
    runs = sweeps.plan(namespace['get_config'](), *sweeps.load_sweep(str(tmp_path / 'mine.py')))
    assert len(runs) == 12
    assert {run.arm: run.against for run in runs}['depthwise_conv, learned_1d'] == ('depthwise_conv, none',)


def test_every_link_leads_somewhere():
    for link in re.findall(r'\]\(([^)#]+)\)', README):
        assert link.startswith('http') or (ROOT / link).exists(), link


def test_every_promise_is_held_by_tests_that_are_there():
    named = re.findall(r'`((?:\.\./)*[\w/]+\.py)`', (ROOT / 'docs' / 'reliability.md').read_text())
    assert len(named) > 20
    for path in named:
        assert (ROOT / 'tests' / 'reliability' / path).exists(), path
