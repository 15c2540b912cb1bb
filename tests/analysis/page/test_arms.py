import json
import re
import shlex

import pytest
from absl import flags
from ml_collections import config_flags

from analysis import formats, tables
from analysis.page import arms
from analysis.reading import runs
from configs import base, demo
from experiment import arguments


def rows(workdir):
    sweep = runs.read(workdir.write())
    return arms.rows(sweep, tables.make_table(sweep))


def parsed(words, monkeypatch):
    """The config that train.py gets from these words of a command line."""
    monkeypatch.setattr('sys.argv', words)  # where ml_collections looks for fields
    values = flags.FlagValues()
    monkeypatch.setattr(flags, 'FLAGS', values)
    config_flags.DEFINE_config_file('config', flag_values=values)
    flags.DEFINE_string('workdir', None, '', flag_values=values)
    arguments.parse(words)
    return values.config


CHANGES = {
    'nothing': {},
    'numbers': {'train.learning_rate': 1e-5, 'model.num_heads': 8, 'train.epochs': 2.0, 'data.train_examples': 30},
    'texts': {'data.name': "it's $HOME; `x`", 'data.dir': '/a b/"c"'},
    'booleans': {'model.positions.content': False, 'data.augment.flip': True},
    'a window': {'model.window': 3, 'train.steps': 5},
}


@pytest.mark.parametrize('name', CHANGES)
def test_the_command_gives_the_config_of_every_run(workdir, name, monkeypatch):
    for seed in (4, 7):
        workdir.add('an arm', seed, 0.9 + seed / 1000, CHANGES[name])
    _, (row,) = rows(workdir)
    loop, train, done, report = row.command.splitlines()
    assert (loop, done) == ('for seed in 4 7; do', 'done')
    assert report == 'python report.py --workdir=runs/again-1'
    for run in row.arm.runs:
        words = [word.replace('$seed', str(run.seed)) for word in shlex.split(train)]
        assert words[:3] == ['python', 'train.py', '--config=configs/base.py']
        assert json.loads(parsed(words[1:], monkeypatch).to_json()) == run.config


def test_steps_leave_nothing_for_epochs_to_say(workdir, monkeypatch):
    workdir.add('an arm', 0, config={'train.steps': 5, 'train.epochs': 2.0})
    _, (row,) = rows(workdir)
    words = shlex.split(row.command.splitlines()[1].replace('$seed', '0'))
    config = parsed(words[1:], monkeypatch)
    (run,) = row.arm.runs
    assert config.train.steps == 5
    assert json.loads(config.to_json()) | {'train': config.train.to_dict() | {'epochs': 2.0}} == run.config


def test_only_what_differs_from_the_defaults_is_in_the_command():
    config = demo.get_config()
    changed = arms.changes(json.loads(config.to_json()))
    assert changed['model.patch_size'] == 2
    assert 'train.clip_norm' not in changed
    assert arms.changes(base.get_config().to_dict()) == {}


def test_differences_name_every_field_that_is_not_the_same_in_all_arms(workdir):
    workdir.add('one', 0, config={'model.depth': 2})
    workdir.add('two', 0, config={'model.depth': 2, 'train.epochs': 1.0, 'model.positions.content': False})
    workdir.add('lost', 0, started=False)
    _, found = rows(workdir)
    differing = arms.differences([row.arm for row in found])
    assert differing['train.epochs'] == ['60.0', '1.0', None]
    assert differing['model.positions.content'] == ['true', 'false', None]
    assert 'seed' not in differing
    assert arms.differences([row.arm for row in found[:2]]).keys() == {'train.epochs', 'model.positions.content'}


def test_cells_say_what_the_table_says(workdir):
    for seed in range(3):
        workdir.add('good', seed, (0.97, 0.96, 0.98)[seed])
        workdir.add('poor', seed, (0.5, 0.51, 0.52)[seed], {'model.depth': 1})
    workdir.add('cut', 0, 0.9, {'model.depth': 2})
    workdir.add('cut', 1, config={'model.depth': 2}, finished=False)
    headings, found = rows(workdir)
    good, poor, cut = (dict(zip(headings, row.cells, strict=True)) for row in found)
    assert good['Test accuracy, %'].text.startswith('97.00 ± 2.48')
    assert (good[formats.AGAINST].text, found[0].mark) == ('best', 'best')
    assert re.fullmatch(r'-46\.00 ± [\d.]+ \(p (<|=) 0\.\d+\)', poor[formats.AGAINST].text)
    assert poor[formats.AGAINST].value == pytest.approx(-0.46)
    assert cut[formats.AGAINST] == arms.Cell('not tested', None)
    assert cut['Seeds'].text == '1 of 2 (1 unfinished)'
    assert good['Params'] == arms.Cell('86,410', 86410.0)


def test_a_number_that_is_not_there_is_worded_as_in_the_table(workdir, capsys):
    workdir.add('lost', 0, finished=False)
    workdir.add('slow', 0, config={'model.depth': 1}, result={'images_per_second': None})
    headings, (lost, slow) = rows(workdir)
    capsys.readouterr()
    formats.print_table(tables.make_table(runs.read(workdir.path)))
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    shared = [heading for heading in headings if heading not in (formats.AGAINST, 'Seeds')]
    assert shared == [formats.ACCURACY, 'Params', 'Forward MFLOPs', 'Images/s', 'Steps', 'Images seen']
    for row in (lost, slow):
        cells = dict(zip(headings, row.cells, strict=True))
        (line,) = (line for line in printed if line[:1] == [row.label])
        said = [line[1], *line[-5:]]
        assert [cells[heading].text for heading in shared] == said
        assert [cells[heading].value is None for heading in shared] == [text == '-' for text in said]
    assert [cell.text for heading, cell in zip(headings, lost.cells, strict=True) if heading in shared] == ['-'] * 6


def test_configs_are_told_apart_by_the_fields_in_which_they_differ_alone():
    common = {'model.depth': 2, 'train.steps': 5}
    configs = [common | {'model.mixer': 'conv', 'model.bias': 1}, common | {'model.mixer': 'gru', 'model.bias': True}]
    assert arms.told_apart(configs) == ['model.mixer=conv, model.bias=1', 'model.mixer=gru, model.bias=True']
    assert arms.told_apart([common, common | {'model.mixer': 'conv'}]) == ['', 'model.mixer=conv']
    assert arms.told_apart([common]) == ['']
