"""A folder of runs becomes arms: as sweep.json lists them, or as their configs differ."""

import json

import pytest

from analysis.reading import runs
from configs.errors import ConfigError
from files.checksums import with_checksum


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


def test_labels_without_a_list_leave_out_what_nearly_all_have(workdir):
    plain = workdir.add('', 0)
    for config in ({'model.num_heads': 2}, {'train.learning_rate': 0.1}, {'model.mixer': 'conv', 'model.depth': 2}):
        workdir.add('', 0, config=config)
    assert {arm.label for arm in runs.read(workdir.path).arms} == {
        plain.name, 'model.num_heads=2', 'train.learning_rate=0.1', 'model.depth=2, model.mixer=conv'
    }  # fmt: skip


def test_labels_tell_a_run_that_lacks_a_field_from_those_that_have_it(workdir):
    for rate in (0.1, 0.2, 0.3, 0.4):
        workdir.add('', 0, config={'train.learning_rate': rate})
    old = workdir.add('', 1, config={'train.learning_rate': 0.2, 'model.depth': 3})
    for name in ('config.json', 'result.json'):
        tree = json.loads((old / name).read_text())
        del tree.get('config', tree)['model']['depth']
        (old / name).write_text(json.dumps(with_checksum(tree) if 'config' in tree else tree))
    labels = [arm.label for arm in runs.read(workdir.path).arms]
    assert len(set(labels)) == len(labels) == 5


def test_an_arm_of_several_configs_has_a_name_for_each(workdir):
    plain = workdir.add('m', 0)
    workdir.add('m', 0, config={'train.learning_rate': 0.1})
    workdir.add('m', 0, config={'model.depth': 2})
    labels = [arm.label for arm in runs.read(workdir.write()).arms]
    assert labels == [f'm ({plain.name})', 'm (train.learning_rate=0.1)', 'm (model.depth=2)']


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


@pytest.mark.parametrize('name', ['0', 'z'])
def test_of_runs_that_repeat_a_seed_the_finished_one_counts(workdir, name):
    """Whichever is read first."""
    folder = workdir.add('arm', 0)
    (workdir.path / name).mkdir()
    (workdir.path / name / 'config.json').write_bytes((folder / 'config.json').read_bytes())
    sweep = runs.read(workdir.path)
    assert [(run.name, run.status) for run in sweep.arms[0].runs] == [(folder.name, 'finished')]
    assert sweep.warnings == (f'{name} repeats seed 0 of {folder.name} and is not counted',)


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


def test_of_one_label_over_two_configs_a_run_that_left_none_is_missed_too(workdir):
    """Else its arm would pass for complete, and be compared."""
    for mixer in ('attention', 'conv'):
        for seed in (0, 1):
            workdir.add('arm', seed, config={'model.mixer': mixer})
    workdir.add('arm', 2, started=False)
    arms = runs.read(workdir.write()).arms
    assert [arm.unfinished['unfinished'] for arm in arms] == [1, 0]
    assert [arm.complete for arm in arms] == [False, True]


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


FIGURE = {'x': 'heads', 'scale': 'log', 'quantities': ['test_accuracy']}


def read_with_figure(workdir, figure):
    path = workdir.write() / 'sweep.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'figure': figure}))
    return runs.read(workdir.path)


def test_a_figure_says_where_arms_stand(workdir):
    for seed in (0, 1):
        workdir.add('one', seed)
        workdir.listed[-1] |= {'curve': 'attention', 'x': 4}
    workdir.add('other', 0, config={'model.depth': 9})
    sweep = read_with_figure(workdir, FIGURE)
    assert sweep.figure == runs.Figure('heads', 'log', ('test_accuracy',))
    assert [arm.place for arm in sweep.arms] == [runs.Place('attention', 4.0), None]
    assert sweep.warnings == ()


def test_places_without_a_figure_are_nothing(workdir):
    workdir.add('one', 0)
    workdir.listed[-1] |= {'curve': 7, 'x': []}
    sweep = runs.read(workdir.write())
    assert (sweep.figure, sweep.arms[0].place, sweep.warnings) == (None, None, ())


@pytest.mark.parametrize(
    'figure',
    [
        7,
        [],
        {},
        FIGURE | {'x': ''},
        FIGURE | {'x': 3},
        FIGURE | {'scale': 'cubic'},
        FIGURE | {'scale': ['log']},
        FIGURE | {'quantities': []},
        FIGURE | {'quantities': 'test_accuracy'},
        FIGURE | {'quantities': ['loss']},
        FIGURE | {'quantities': [['test_accuracy']]},
        FIGURE | {'quantities': ['test_accuracy'] * 2},
        FIGURE | {'\x1b[31m': 1},
    ],
)
def test_a_figure_that_makes_no_sense_is_a_warning_and_none(workdir, figure):
    workdir.add('one', 0)
    workdir.listed[-1] |= {'curve': 'attention', 'x': 4}
    sweep = read_with_figure(workdir, figure)
    assert sweep.figure is None
    assert [arm.place for arm in sweep.arms] == [None]
    (warning,) = sweep.warnings
    assert warning.startswith('sweep.json: figure ')
    assert 'would do' in warning
    assert warning.isprintable()


@pytest.mark.parametrize(
    ('curve', 'x'),
    [
        (None, 4), ('attention', None), ('', 4), (3, 4), (['attention'], 4), ('attention', 0), ('attention', -1),
        ('attention', True), ('attention', '4'), ('attention', 10**400), ('attention', float('nan')),
        ('attention', float('inf')), ('attention', [4]),
    ],
)  # fmt: skip
def test_a_place_that_makes_no_sense_is_a_warning_and_none(workdir, curve, x):
    workdir.add('one', 0)
    workdir.listed[-1] |= {'curve': curve, 'x': x}
    sweep = read_with_figure(workdir, FIGURE)
    assert sweep.arms[0].place is None
    assert 'the figure is without it' in sweep.warnings[0]
    assert 'would do' in sweep.warnings[0]


def test_an_arm_of_two_places_has_none(workdir):
    for seed in (0, 1):
        workdir.add('one', seed)
        workdir.listed[-1] |= {'curve': 'attention', 'x': seed + 1}
    sweep = read_with_figure(workdir, FIGURE)
    assert sweep.arms[0].place is None
    assert 'no single place' in sweep.warnings[0]


def test_an_arm_of_two_configs_has_no_place_and_the_figure_says_that_it_is_without_it(workdir):
    for mixer in ('attention', 'conv'):
        workdir.add('one', 0, config={'model.mixer': mixer})
        workdir.listed[-1] |= {'curve': 'attention', 'x': 1}
    sweep = read_with_figure(workdir, FIGURE)
    assert [arm.place for arm in sweep.arms] == [None, None]
    assert any('no single place' in warning for warning in sweep.warnings)


def test_a_category_may_be_a_text_or_a_number(workdir):
    for number, x in enumerate(('rnn', 4, 0.5)):
        workdir.add(f'arm {number}', 0, config={'model.depth': number + 5})
        workdir.listed[-1] |= {'curve': 'attention', 'x': x}
    sweep = read_with_figure(workdir, FIGURE | {'scale': 'category'})
    assert [arm.place.x for arm in sweep.arms] == ['rnn', '4', '0.5']
