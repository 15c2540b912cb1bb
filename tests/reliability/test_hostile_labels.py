"""Labels and names that come from files stay text wherever they are shown: in HTML, SVG, LaTeX, Markdown and CSV."""

import csv
import json
import re
import shutil
import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from analysis import formats, tables
from analysis.page import write
from analysis.reading import runs
from configs import base
from experiment.run import execute
from experiment.sweeping import sweeps
from experiment.sweeping.manifest import open_sweep
from files.checksums import with_checksum

FIELDS = {
    'data.name': 'synthetic',
    'data.synthetic.image_size': 4,
    'data.synthetic.channels': 1,
    'data.synthetic.num_classes': 2,
    'data.synthetic.train_examples': 16,
    'data.synthetic.test_examples': 8,
    'model.patch_size': 2,
    'model.embed_dim': 4,
    'model.depth': 1,
    'model.num_heads': 1,
    'train.steps': 2,
    'train.batch_size': 4,
    'train.eval_batch_size': 8,
    'checkpoint.count': 1,
    'log.every': 1,
    'log.tensorboard': False,
}
PLAIN = ('plain', 'other', 'third')
NASTY = (
    '</script></title></style></textarea><script>alert(1)</script><img src=x onerror=alert(1)>"\'-->',
    '[99pt]\\input{/etc/passwd}\\write18{id}% $x^2_a$ #1 {} ~ & \\\\ `\n\n\\end{table}\r\u2028',
    '=cmd|"/c calc"!A1,\u202egpj.exe\u2066\u200f\x1b]0;owned\x07\x1b[2J\0\ud800',
)


class Page(HTMLParser):
    """What a browser would make of a page: its elements and their attributes, and what could run or be fetched."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.addresses, self.scripts = set(), set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes |= {(tag, name) for name, _ in attributes}
        self.addresses += [value for name, value in attributes if name in ('src', 'href')]
        if tag == 'script':
            self.scripts.append('')

    def handle_data(self, text):
        if self.lasttag == 'script':
            self.scripts[-1] += text


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    """The folders of one sweep under plain labels and under nasty ones, tables and report written."""
    plain = tmp_path_factory.mktemp('labels') / 'plain'
    config = base.get_config()
    config.update_from_flattened_dict(FIELDS)
    mixers = {'plain': {}, 'other': {'model.num_heads': 2}, 'third': {'model.mixer': 'identity'}}
    rows = [{'arm': arm, 'against': None if arm == 'plain' else 'plain'} | fields for arm, fields in mixers.items()]
    rows = [row | ({'model.positions.name': 'none'} if row['arm'] == 'third' else {}) for row in rows]
    planned = sweeps.plan(config, rows)
    open_sweep(plain, 'mine.py', planned)
    for run in planned:
        execute(run.config, plain / run.name, lambda row, steps: None)
    nasty = plain.with_name('<img src=x onerror=alert(1)>$\\input')
    shutil.copytree(plain, nasty)
    listing = json.loads((nasty / 'sweep.json').read_text())
    for row in listing['runs']:
        row['arm'] = NASTY[PLAIN.index(row['arm'])]
        row['against'] = [NASTY[PLAIN.index(arm)] for arm in row.get('against', [])]
    (nasty / 'sweep.json').write_text(json.dumps(listing))
    # A result's own texts, and a run that is listed under a name that leads elsewhere.
    for run in planned:
        path = nasty / run.name / 'result.json'
        result = json.loads(path.read_text())
        result['git'] = {'commit': NASTY[0], 'dirty': True}
        result['versions'] = {NASTY[0]: NASTY[1], 'jax': NASTY[2]}
        result['device'] |= {'kind': NASTY[1]}
        path.write_text(json.dumps(with_checksum(result)))
    listing['runs'].append({'run': '../plain', 'arm': 'elsewhere'})
    listing['config'] = NASTY[0]
    (nasty / 'sweep.json').write_text(json.dumps(listing))
    for workdir in (plain, nasty):
        sweep = runs.read(workdir)
        formats.write_tables(workdir, tables.make_table(sweep))
        write.write(workdir, sweep)
    return plain, nasty


def shown(path):
    return path.read_text(encoding='utf-8')


def test_a_page_under_nasty_labels_has_the_elements_of_one_under_plain_labels(pages):
    plain, nasty = (Page(shown(folder / 'report.html')) for folder in pages)
    assert nasty.elements <= plain.elements
    assert nasty.attributes <= plain.attributes
    assert len(nasty.scripts) == len(plain.scripts)
    assert not any(name.startswith('on') for _, name in nasty.attributes)
    assert all(address.startswith(('#', 'data:', 'figures/')) or '/' in address for address in nasty.addresses)
    assert not any('..' in address or ':' in address for address in nasty.addresses if address[:5] != 'data:')
    # Scripts are the page's own, and the two of data hold the labels as they are, but for what has no place in a line.
    assert nasty.scripts[-4:] == plain.scripts[-4:]
    data = [json.loads(script) for script in nasty.scripts if script.lstrip().startswith('{')]
    assert any('<script>alert(1)</script>' in run['arm'] for run in data[0]['runs'])


@pytest.mark.parametrize('name', ['report.html', 'table.md', 'table.tex', 'table.csv'])
def test_nothing_that_steers_a_terminal_or_turns_a_line_around_is_written(pages, name):
    text = shown(pages[1] / name)
    assert {character for character in text if unicodedata.category(character).startswith('C')} <= {'\n'}
    assert not set(text) & set('\u2028\u2029')


def test_figures_hold_no_markup_but_their_own(pages):
    tags = [
        {element.tag for path in (folder / 'figures').glob('*.svg') for element in ElementTree.parse(path).iter()}
        for folder in pages
    ]
    assert tags[1] <= tags[0]
    assert not any('script' in str(tag) for tag in tags[1])
    for path in (pages[1] / 'figures').glob('*.svg'):
        assert not re.search(r'<(script|img)|onerror=', re.sub(r'<!--.*?-->', '', shown(path), flags=re.S))


def test_latex_runs_nothing_and_keeps_its_rows(pages):
    plain, nasty = (shown(folder / 'table.tex') for folder in pages)

    def commands(text):
        return set(re.findall(r'\\([a-zA-Z]+)', text))

    escapes = {'textbackslash', 'textasciitilde', 'textasciicircum', 'space', 'ldots'}
    assert commands(nasty) - commands(plain) <= escapes
    assert not re.search(r'\\\\\s*[\[*]', nasty)  # the option of a row's end
    bare = re.sub(r'\\[\\{}$&%#_]', ' ', nasty.replace(r'\\', ''))
    assert bare.count('%') == 1  # the comment on top
    assert bare.count('$') % 2 == 0
    bodies = [table.partition('bottomrule')[0].splitlines() for table in bare.split('toprule')[1:]]
    assert len(bodies) == 2  # arms, and pairs
    for body in bodies:
        assert len({line.count('&') for line in body if '&' in line}) == 1
    assert nasty.count(r'\begin{') == nasty.count(r'\end{') == plain.count(r'\end{')


def test_markdown_holds_no_html_and_keeps_its_cells(pages):
    text = shown(pages[1] / 'table.md')
    assert '<' not in text
    arms, pairs, _ = text.split('\n\n')
    for table, count in ((arms, len(NASTY)), (pairs, len(NASTY) - 1)):
        rows = [re.split(r'(?<!\\)\|', line) for line in table.splitlines()]
        assert len(rows) == 2 + count
        assert len({len(row) for row in rows}) == 1


def test_a_spreadsheet_meets_no_formula(pages):
    for name, count in (('table.csv', len(NASTY)), ('table_pairs.csv', len(NASTY) - 1)):
        with (pages[1] / name).open(encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        for label in (row[heading] for row in rows for heading in ('arm', 'against') if heading in row):
            assert not label.startswith(tuple('=+-@\t\r'))


def test_a_run_that_is_listed_elsewhere_is_not_read(pages):
    (warning,) = [note for note in tables.make_table(runs.read(pages[1])).notes if 'is ignored' in note]
    assert '../plain' in warning
