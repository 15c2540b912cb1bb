"""Run folders are read as they are: torn, foreign or hostile files become warnings, never numbers."""

import json
import os

import pytest

from analysis import runs
from configs.errors import ConfigError


def _change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_arms_keep_the_authors_order_and_group_seeds(workdir):
    for seed in (0, 1):
        workdir.add('zebra', seed, 0.5)
        workdir.add('ant', seed, 0.6, {'model.mixer': 'conv'})
    sweep = runs.read(workdir.write())
    assert [arm.label for arm in sweep.arms] == ['zebra', 'ant']
    assert [[run.seed for run in arm.runs] for arm in sweep.arms] == [[0, 1], [0, 1]]
    assert [run.result.accuracy for run in sweep.arms[1].runs] == [0.6, 0.6]
    assert sweep.warnings == ()


def test_every_run_of_the_list_is_counted(workdir):
    workdir.add('arm', 0)
    workdir.add('arm', 1, started=False)
    workdir.add('arm', 2, finished=False)
    workdir.add('arm', 3, result={'status': 'diverged', 'diverged_step': 40})
    failed = workdir.add('arm', 4, finished=False)
    (failed / 'failed.json').write_text('{"error": "out of memory\\n\\u001b[31mred"}')
    (arm,) = runs.read(workdir.write()).arms
    assert [run.status for run in arm.runs] == ['finished', 'unfinished', 'unfinished', 'diverged', 'failed']
    assert [run.seed for run in arm.runs] == [0, 1, 2, 3, 4]
    assert arm.runs[3].detail == 'at step 40'
    assert arm.runs[4].detail == 'out of memory [31mred'
    assert not arm.complete


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        ('', 'torn'),
        ('{"status": "finished", "test": {"accu', 'torn'),
        ('[' * 100_000, 'nested too deeply'),
        ('{"config":' * 100 + '1' + '}' * 100, 'nested too deeply'),
        ('[]', 'not a JSON object'),
        ('{"config": {}}', 'another config'),
        ('{"seed": ' + '9' * 5000 + '}', 'torn or not JSON'),
        (b'\xff\xfe\x00', 'torn or not JSON'),
    ],
    ids=['empty', 'torn', 'deep', 'deep but valid', 'list', 'foreign', 'huge integer', 'not text'],
)
def test_a_damaged_result_is_named_and_not_counted(workdir, content, named):
    workdir.add('arm', 0, 0.9)
    path = workdir.add('arm', 1, 0.8) / 'result.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    (warning,) = sweep.warnings
    assert path.parent.name in warning
    assert 'result.json' in warning
    assert named in warning


@pytest.mark.parametrize('length', range(0, 1400, 50))
def test_a_result_torn_anywhere_is_noticed(workdir, length):
    path = workdir.add('arm', 0) / 'result.json'
    workdir.add('arm', 1)
    content = path.read_bytes()
    assert length < len(content)
    path.write_bytes(content[:length])
    assert runs.read(workdir.write()).arms[0].count('damaged') == 1


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('test', {'accuracy': '0.9', 'examples': 360}),
        ('test', {'accuracy': 1.5, 'examples': 360}),
        ('test', {'accuracy': -0.1, 'examples': 360}),
        ('test', {'accuracy': float('nan'), 'examples': 360}),
        ('test', {'accuracy': True, 'examples': 360}),
        ('test', {'accuracy': 0.9, 'examples': 0}),
        ('test', [0.9]),
        ('status', 'done'),
        ('status', ['finished']),
        ('seed', '0'),
        ('seed', 7),
        ('params', 1.5),
        ('params', 10**400),
        ('forward_flops', None),
        ('steps', True),
        ('images_seen', -1),
        ('images_per_second', 'fast'),
    ],
)
def test_a_field_that_makes_no_sense_is_named_and_its_run_not_counted(workdir, field, value):
    workdir.add('arm', 0)
    path = workdir.add('arm', 1) / 'result.json'
    _change(path, **{field: value})
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    assert field in sweep.warnings[0]
    assert len(sweep.warnings[0]) < 500


def test_context_of_the_wrong_type_is_unknown(workdir):
    path = workdir.add('arm', 0) / 'result.json'
    _change(path, git='x', versions=[1], device=None, selection=3, train='y', images_per_second=None)
    result = runs.read(workdir.write()).arms[0].runs[0].result
    assert (result.commit, result.versions, result.device, result.selection_rule, result.train_examples) == (None,) * 5


@pytest.mark.parametrize(
    'name', ['../outside', '/etc', '..', '.', '', 'a/b', 'a\\b', 'x\x00y', '.hidden', None, 7, ['x']]
)
def test_a_run_name_that_leaves_the_folder_is_refused(workdir, name):
    workdir.add('arm', 0)
    outside = workdir.add('arm', 1)
    outside.rename(workdir.path.parent / 'outside')
    workdir.listed[1]['run'] = name
    sweep = runs.read(workdir.write())
    assert [run.seed for run in sweep.arms[0].runs] == [0]
    assert 'entry 1 is ignored' in sweep.warnings[0]


@pytest.mark.parametrize(
    'content', ['', '{"runs": 3}', '{"runs": []}', '{"runs": [1, null]}', '[]', '{"runs": [{"run": "x']
)
def test_a_damaged_list_falls_back_on_the_folders(workdir, content):
    workdir.add('arm', 0)
    workdir.add('other', 0, config={'model.mixer': 'conv', 'model.num_heads': 2})
    (workdir.write() / 'sweep.json').write_text(content)
    sweep = runs.read(workdir.path)
    labels = {'model.mixer=attention, model.num_heads=4', 'model.mixer=conv, model.num_heads=2'}
    assert {arm.label for arm in sweep.arms} == labels
    assert any('sweep.json' in warning for warning in sweep.warnings)


def test_labels_without_a_list_name_what_differs_and_never_the_seed(workdir):
    for seed in (0, 1):
        workdir.add('', seed)
        workdir.add('', seed, config={'train.learning_rate': 0.1})
    arms = runs.read(workdir.path).arms
    assert {arm.label for arm in arms} == {'train.learning_rate=0.002', 'train.learning_rate=0.1'}
    assert all(len(arm.runs) == 2 for arm in arms)


def test_a_single_run_is_its_own_arm(workdir):
    folder = workdir.add('arm', 3, 0.75)
    (arm,) = runs.read(folder).arms
    assert arm.label == folder.name
    assert [(run.seed, run.result.accuracy) for run in arm.runs] == [(3, 0.75)]


def test_a_run_listed_twice_is_one_seed(workdir):
    workdir.add('arm', 0)
    workdir.listed.append(workdir.listed[0])
    sweep = runs.read(workdir.write())
    assert len(sweep.arms[0].runs) == 1
    assert 'twice' in sweep.warnings[0]


def test_a_copied_folder_is_no_new_evidence(workdir):
    folder = workdir.add('arm', 0)
    copy = workdir.path / 'copy'
    copy.mkdir()
    for name in ('config.json', 'result.json'):
        (copy / name).write_bytes((folder / name).read_bytes())
    sweep = runs.read(workdir.path)
    assert len(sweep.arms[0].runs) == 1
    assert 'repeats seed 0' in sweep.warnings[0]


def test_a_run_of_another_seed_than_listed_is_damaged(workdir):
    workdir.add('arm', 0)
    workdir.add('arm', 1)
    workdir.listed[1]['overrides']['seed'] = 5
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    assert 'seed 1' in sweep.warnings[0]


def test_one_label_over_two_configs_is_two_rows(workdir):
    for mixer in ('attention', 'conv'):
        workdir.add('arm', 0, config={'model.mixer': mixer})
    sweep = runs.read(workdir.write())
    assert [arm.label for arm in sweep.arms] == ['arm (model.mixer=attention)', 'arm (model.mixer=conv)']
    assert '2 configs' in sweep.warnings[0]


def test_a_damaged_config_leaves_the_result_standing(workdir):
    folder = workdir.add('arm', 0)
    (folder / 'config.json').write_text('{"seed"')
    sweep = runs.read(workdir.write())
    assert sweep.arms[0].complete
    assert 'config.json' in sweep.warnings[0]


def test_a_pipe_or_a_folder_in_place_of_a_file_does_not_hang(workdir):
    workdir.add('arm', 0)
    for seed, make in ((1, os.mkfifo), (2, os.mkdir)):
        path = workdir.add('arm', seed) / 'result.json'
        path.unlink()
        make(path)
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged', 'damaged']


def test_a_huge_file_is_refused_unread(workdir):
    workdir.add('arm', 0)
    path = workdir.add('arm', 1) / 'result.json'
    with path.open('wb') as file:
        file.truncate(runs.LARGEST_FILE + 1)
    assert 'too large' in runs.read(workdir.write()).warnings[0]


def test_nothing_to_read_is_one_line(workdir):
    with pytest.raises(ConfigError, match='no such folder'):
        runs.read(workdir.path)
    with pytest.raises(ConfigError, match='no such folder'):
        runs.read('x\x00y')
    workdir.path.mkdir()
    with pytest.raises(ConfigError, match='no runs in it'):
        runs.read(workdir.path)
    (workdir.path / 'sweep.json').write_text('{')
    with pytest.raises(ConfigError, match=r'no runs in it.*sweep\.json is torn'):
        runs.read(workdir.path)
    workdir.add('arm', 0, started=False)
    with pytest.raises(ConfigError, match=r'no finished run in it \(1 unfinished\)'):
        runs.read(workdir.write())
    with pytest.raises(ConfigError, match='no such folder'):
        runs.read(workdir.path / 'sweep.json')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('a\n\tb  c', 'a b c'), ('\x1b[2J\x07', '[2J'), ('\u202eevil', 'evil'), ('\ud800', ''), ('é ± 日本', 'é ± 日本')],
)
def test_clean_leaves_one_printable_line(text, expected):
    assert runs.clean(text) == expected


def test_clean_cuts_what_is_long():
    assert len(runs.clean('x' * 10_000_000)) == runs.LONGEST_TEXT
