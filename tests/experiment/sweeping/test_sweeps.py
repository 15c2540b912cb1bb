import json

import numpy as np
import pytest

import data
from analysis.reading.manifest import read_entries
from configs import demo
from configs.errors import ConfigError
from configs.fields import flatten
from experiment.sweeping import sweeps
from experiment.sweeping.manifest import open_sweep
from experiment.sweeping.sweep_file import load_sweep


def test_the_demo_is_the_issue_s_grid():
    runs = sweeps.plan(demo.get_config(), demo.sweep())
    assert len(runs) == 30
    assert len({run.name for run in runs}) == 30
    arms = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run.config)
    assert all([config.seed for config in configs] == [0, 1, 2] for configs in arms.values())
    attention = {
        (config.model.positions.name, config.model.num_heads)
        for (config, *_) in arms.values()
        if config.model.name == 'backbone' and config.model.mixer == 'attention'
    }
    assert attention == {(name, heads) for name in ('none', 'sinusoidal_2d', 'learned_1d', 'rnn') for heads in (1, 4)}


def test_arms_differ_in_what_their_overrides_say_and_in_nothing_else():
    runs = sweeps.plan(demo.get_config(), demo.sweep())
    default = flatten(demo.get_config().to_dict())
    for run in runs:
        assert default | run.overrides == flatten(run.config.to_dict())


def test_a_name_stands_for_the_resolved_config(config):
    by_override = sweeps.plan(config, [{'seed': 3}])[0].name
    config.seed = 3
    assert sweeps.plan(config, [{}])[0].name == by_override
    config.train.learning_rate *= 2
    assert sweeps.plan(config, [{}])[0].name != by_override


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ([{'model': {'depth': 2}}], r'sweep\(\)\[0\].*there is no field model'),
        ([{3: 4}], r'sweep\(\)\[0\].*there is no field 3'),
        ([{'arm': ' '}], r"sweep\(\)\[0\] has an empty 'arm'"),
        ([{'arm': '\u200b'}], r"sweep\(\)\[0\] has an empty 'arm'"),
        ([{'arm': 'a' * 2000}], r"has the label 'a{78}… of 2000 characters; an 'arm' of at most 200 would do"),
        ([{'data.dir': '/x' * 100}], r"has the label 'data\.dir=.* characters; an 'arm' of at most 200 would do"),
        ([{'arm': 'a', 'against': 'b' * 201}], r"has the label 'b{78}… of 201 characters"),
        ([{'arm': 'a b', 'seed': 1}, {'arm': 'a  b', 'seed': 1}], r'\(a b\) is the same run as a b'),
        ([{'model.window': 3.5}], r'model\.window=3\.5 is of type float; int would do'),
        ([{'seed': 1.0}], r'sweep\(\)\[0\] \(default\): seed=1\.0 is of type float; int would do'),
        ([{'model.depth': True}], r'model\.depth=True is of type bool; int would do'),
        ([{'model.depth': None}], r'model\.depth=None is of type NoneType; int would do'),
        ([{'train.steps': None, 'model.mixer': 3}], r'model\.mixer=3 is of type int; str would do'),
        ([{'model.num_head': 3}], r'sweep\(\)\[0\].*num_head'),
        ([{}, {'model.num_heads': 'many'}], r'sweep\(\)\[1\].*many'),
        ([{'arm': 'odd', 'model.num_heads': 3}], r'sweep\(\)\[0\] \(odd\): model\.num_heads=3 must divide'),
        ([{'arm': 'a', 'seed': 1}, {'arm': 'b', 'seed': 1}], r'sweep\(\)\[1\] \(b\) is the same run as a'),
        ([], r'names no run'),
        (['seed'], r"sweep\(\)\[0\] is 'seed'"),
        ([{'data.train_examples': 1000}], r'data\.train_examples=1000 asks for'),
        ([{'tuned': 'train.learning_rate'}], r"sweep\(\)\[0\] has tuned='train\.learning_rate'; a field that it sets"),
        (
            [{'train.epochs': 3.0}],
            r'sweep\(\)\[0\].*train\.epochs=3\.0 changes nothing: train\.steps=\d+ goes before it',
        ),
        ([{'tuned': ('seed',), 'seed': 1}], 'other than the seed'),
        ([{'tuned': 3, 'seed': 1}], 'has tuned=3'),
        ([{'tuned': [['seed']], 'seed': 1}], r"has tuned=\[\['seed'\]\]; a field that it sets"),
        ([{'arm': 'a', 'against': 3}], r'has against=3; the label of another arm would do'),
        ([{'arm': 'a', 'against': ['b', 3]}], r"has against=\['b', 3\]; the label of another arm"),
        ([{'arm': 'a', 'against': 'a'}, {'arm': 'a', 'against': 'a', 'seed': 1}], r"against='a', .* there is none"),
        (
            [{'arm': 'none'}, {'arm': 'rnn', 'seed': 1, 'against': 'nnoe'}],
            r"arm 'rnn' has against='nnoe', which is no other arm; did you mean none\?",
        ),
        (
            [{'arm': 'none'}, {'arm': 'rnn', 'seed': 1, 'against': 'none'}, {'arm': 'rnn', 'seed': 2}],
            r"arm 'rnn' has against=\('none',\) in one row of sweep\(\) and \(\) in another",
        ),
        (
            [
                {'arm': 'a', 'train.learning_rate': 0.1, 'tuned': 'train.learning_rate'},
                {'arm': 'a', 'train.learning_rate': 0.2},
            ],
            r"arm 'a' has tuned=\('train\.learning_rate',\) in one row",
        ),
    ],
)
def test_a_sweep_is_validated_whole(config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        sweeps.plan(config, overrides)


def test_labels_that_the_table_takes_for_one_are_one_arm(config, tmp_path):
    labels = ('a b', ' a  b', 'a\tb\n', 'a\u200b b')
    rows = [{'arm': arm, 'seed': seed, 'against': 'c  d'} for seed, arm in enumerate(labels)]
    runs = sweeps.plan(config, [*rows, {'arm': 'c d', 'seed': 9}])
    assert [run.arm for run in runs] == ['a b'] * 4 + ['c d']
    open_sweep(tmp_path, 'one.py', runs)
    entries = read_entries(json.loads((tmp_path / 'sweep.json').read_text()), None, [])
    assert [(entry.arm, entry.against) for entry in entries] == [(run.arm, run.against) for run in runs]


def test_what_every_row_sets_cannot_be_asked_for_beside_them(config):
    config.train.steps = None
    runs = sweeps.plan(config, [{'train.steps': 3, 'seed': 0}, {'train.epochs': 2.0, 'seed': 1}])
    sweeps.refuse_overridden({'train.steps': None, 'model.depth': 3}, runs)
    for name, setting in (('seed', 'seed'), ('train.epochs', r'train\.steps')):
        with pytest.raises(ConfigError, match=f'changes nothing: every row .* sets {setting}'):
            sweeps.refuse_overridden({name: 5}, runs)


def test_what_no_row_reads_cannot_be_asked_for_and_what_one_reads_can(config):
    rows = [{'arm': mixer, 'model.mixer': mixer} for mixer in ('attention', 'conv')]
    config.model.kernel_size, config.model.num_heads, config.model.resnet_width = 5, 2, 32
    both = sweeps.plan(config, rows)
    sweeps.refuse_overridden({'model.kernel_size': 5, 'model.num_heads': 2}, both)
    for name, runs in (('model.resnet_width', both), ('model.kernel_size', both[:1]), ('model.num_heads', both[1:])):
        with pytest.raises(ConfigError, match=rf'--config\.{name}=\d+ changes nothing'):
            sweeps.refuse_overridden({name: config.model[name.partition('.')[2]]}, runs)


def test_what_the_rows_that_read_it_set_themselves_cannot_be_asked_for_beside_them(config):
    rows = [{'model.mixer': 'attention'}, {'model.mixer': 'conv', 'model.kernel_size': 3}]
    with pytest.raises(ConfigError, match=r'--config\.model\.kernel_size=5 changes nothing: .* has no kernel'):
        sweeps.refuse_overridden({'model.kernel_size': 5}, sweeps.plan(config, rows))


def test_arms_of_one_token_cannot_differ_in_their_heads(config):
    config.model.patch_size = 4
    rows = [{'model.num_heads': heads} for heads in (1, 2)]
    sweeps.plan(config, rows)
    message = r'num_heads=1 changes nothing: .*patch_size=8 makes an image one token; model\.num_heads=4 would do'
    with pytest.raises(ConfigError, match=message):
        sweeps.plan(config, [row | {'model.patch_size': 8} for row in rows])


def test_heads_cannot_be_asked_for_beside_rows_that_all_have_one_token(config):
    config.model.num_heads = 2
    rows = [{'model.patch_size': 8, 'seed': seed} for seed in range(2)]
    several = sweeps.plan(config, [*rows, {'model.patch_size': 4}])
    sweeps.refuse_overridden({'model.num_heads': 2}, several)
    with pytest.raises(ConfigError, match=r'--config\.model\.num_heads=2 changes nothing: .* one token'):
        sweeps.refuse_overridden({'model.num_heads': 2}, several[:2])


@pytest.mark.parametrize('returned', ["{'seed': 1}", 'None', '3'])
def test_what_is_no_list_of_rows_is_refused_by_name(tmp_path, returned):
    file = tmp_path / 'mine.py'
    file.write_text(f'def sweep():\n    return {returned}\n')
    with pytest.raises(ConfigError, match=r'mine\.py: sweep\(\) returns .*; a list of dicts, one a run, would do'):
        load_sweep(str(file))


FIGURE = {'x': 'heads', 'scale': 'log', 'quantities': ('test_accuracy', 'images_per_second')}


def placed(curve='attention', heads=1, x=1, arm=None, **fields):
    return {'arm': arm or f'{heads} heads', 'curve': curve, 'x': x, 'model.num_heads': heads} | fields


@pytest.mark.parametrize(
    ('rows', 'figure', 'message'),
    [
        ([placed()], 'heads', r"FIGURE is 'heads'; a dict with x, scale and quantities would do"),
        ([placed()], FIGURE | {'scale': 'log2'}, r"FIGURE has scale='log2'; one of linear, log, category would do"),
        ([placed()], FIGURE | {'quantities': ('loss',)}, r"quantities=\('loss',\); some of test_accuracy, images_per"),
        ([placed()], FIGURE | {'title': 'x'}, r"FIGURE has 'title'; x, scale, quantities would do"),
        ([placed()], {}, r'FIGURE has x=None; a text'),
        ([placed(x=0)], FIGURE, r'sweep\(\)\[0\] \(1 heads\) has x=0; a number above 0 would do'),
        ([placed(x='one')], FIGURE, r"has x='one'; a number above 0 would do, or the scale 'category'"),
        ([placed(x=[1])], None, r'has x=\[1\]; a number would do'),
        ([placed(curve=3)], FIGURE, r'has curve=3; the name of a line would do'),
        ([placed(curve=None)], FIGURE, r'has curve=None'),
        ([placed(x=None)], FIGURE, r'has x=None'),
        ([{'seed': 1}], FIGURE, r"no row of sweep\(\) has 'curve' and 'x'"),
        ([placed(), placed(x=2, seed=1)], FIGURE, r"arm '1 heads' has .*x=1\.0 in one row .*x=2\.0 in another"),
        ([placed(), placed(heads=2)], FIGURE, r"arms '1 heads' and '2 heads' both have curve='attention' and x=1\.0"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_runs(config, rows, figure, message):
    with pytest.raises(ConfigError, match=message):
        sweeps.plan(config, rows, figure)


def test_the_manifest_says_what_the_figure_shows(config, tmp_path):
    rows = [placed(seed=np.int64(1), x=np.int64(1)), placed(heads=2, x=2), {'arm': 'outside', 'model.mixer': 'conv'}]
    runs = sweeps.plan(config, rows, FIGURE)
    open_sweep(tmp_path, 'one.py', runs, FIGURE)
    manifest = json.loads((tmp_path / 'sweep.json').read_text())
    assert manifest['figure'] == FIGURE | {'quantities': list(FIGURE['quantities'])}
    assert [(run.get('curve'), run.get('x')) for run in manifest['runs']] == [
        ('attention', 1), ('attention', 2), (None, None)
    ]  # fmt: skip
    assert manifest['runs'][0]['overrides'] == {'model.num_heads': 1, 'seed': 1}
    # The place is no part of a run: with or without it, its folder is the same.
    assert [run.name for run in runs] == [run.name for run in sweeps.plan(config, [
        {'model.num_heads': 1, 'seed': 1}, {'model.num_heads': 2}, {'model.mixer': 'conv'}
    ])]  # fmt: skip


@pytest.mark.parametrize('name', ['mine.py', 'mine.cfg', 'mine'])
def test_a_config_file_s_figure_is_read_beside_its_sweep(tmp_path, name):
    (tmp_path / name).write_text(f'FIGURE = {FIGURE}\ndef sweep():\n    return [{{}}]')
    assert load_sweep(str(tmp_path / name)) == ([{}], FIGURE)


def test_seeds_may_come_from_numpy(config):
    (run,) = sweeps.plan(config, [{'seed': np.int64(3)}])
    assert run.config.seed == 3


@pytest.mark.parametrize(
    ('body', 'message'),
    [
        ('def sweep():\n    return undefined', r"mine\.py:2: NameError: name 'undefined' is not defined"),
        ('import sys\ndef sweep():\n    sys.exit(0)', r'mine\.py:3: SystemExit: 0'),
        ('def sweep(a, b):\n    return []', r"mine\.py: sweep\(a, b\): missing a required argument: 'b'; sweep\(\) or"),
        ('raise SystemExit', r'mine\.py:1: SystemExit'),
        ('x = 1', r'mine\.py has no sweep\(\)'),
    ],
)
def test_a_mistake_in_sweep_names_its_line(tmp_path, body, message):
    (tmp_path / 'mine.py').write_text(body)
    with pytest.raises(ConfigError, match=message):
        load_sweep(str(tmp_path / 'mine.py'))


def test_steps_of_a_run_are_counted_from_its_epochs_too(config):
    config.train.steps, config.train.epochs = None, 3.0
    counted, written, long = sweeps.plan(config, [{}, {'train.steps': 7}, {'train.epochs': 6.0}])
    examples = len(data.load(counted.config.data).train.labels)
    assert counted.steps == round(3 * examples / config.train.batch_size)
    assert (written.steps, long.steps) == (7, 2 * counted.steps)


def test_datasets_that_rows_take_in_turn_are_each_made_once(config, monkeypatch):
    made, real = [], data.load
    monkeypatch.setattr(data, 'load', lambda fields: made.append(fields.validation_fraction) or real(fields))
    fractions = [0.21, 0.31, 0.41]  # which no other test has asked for
    rows = [{'data.validation_fraction': fraction, 'seed': seed} for seed in range(3) for fraction in fractions]
    config.train.steps, config.train.epochs = None, 100.0
    steps = [run.steps for run in sweeps.plan(config, rows)]
    assert steps == 3 * sorted(set(steps), reverse=True)  # the more of them validate, the fewer train
    assert made == fractions
