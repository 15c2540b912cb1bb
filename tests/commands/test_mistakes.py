"""What cannot work is one line that says what would do, exit status 2, and nothing written."""

import pytest

from tests.commands.typed import FILE, SMALL, command

BAD = {
    'unknown field': (['--config.model.num_head=3'], 'did you mean model.num_heads?'),
    'group of fields': (['--config.model=3'], 'group of fields'),
    'wrong type': (['--config.model.num_heads=three'], '--config.model.num_heads=three: a value of type int would do'),
    'no bool': (['--config.log.tensorboard=ja'], '--config.log.tensorboard=ja: true or false would do'),
    'field without config': (
        ['--learning_rate=1'],
        '--learning_rate is no flag; did you mean --config.train.learning_rate?',
    ),
    'type of what is unset': (['--config.model.window=a'], '--config.model.window=a: a value of type int would do'),
    'a misspelt file': (['--config=configs/digit.py'], 'no such file; did you mean configs/digits.py?'),
    'a variant of what has none': (['--config=configs/base.py:tiny'], 'takes no variant; nothing after the colon'),
    'no config': (['--config=configs/tables/__init__.py'], 'has no get_config(); a file that has it would do'),
    'indivisible heads': (['--config.model.num_heads=3'], 'model.num_heads=3 must divide model.embed_dim=64'),
    'patch size': (['--config.model.patch_size=3'], 'model.patch_size=3 does not tile'),
    'unknown position': (['--config.model.positions.name=learned'], 'did you mean learned_1d or learned_2d?'),
    'a name of elsewhere': (['--config.train.lr=3'], 'did you mean train.learning_rate?'),
    'unknown mixer': (['--config.model.mixer=convolution'], "model.mixer='convolution' is unknown"),
    'unknown dataset': (['--config.data.name=digit'], 'digits'),
    'dataset not prepared': (
        ['--config.data.name=cifar100', '--config.data.dir=/nowhere'],
        'python -m data.prepare cifar100 --data_dir=/nowhere',
    ),
    'fraction': (['--config.data.train_fraction=0'], 'data.train_fraction=0.0 must be in (0, 1]'),
    'zero steps': (['--config.train.steps=0'], 'train.steps=0'),
    'epochs beside steps': (
        ['--config.train.steps=5', '--config.train.epochs=3'],
        '--config.train.epochs=3.0 changes nothing: train.steps=5 goes before it',
    ),
    'None where a number must be': (['--config.model.depth=None'], 'model.depth=None: a value of type int would do'),
    'None that is taken back': (['--config.train.steps=None', '--config.train.steps=0'], 'train.steps=0: 1 or more'),
    'no name': (['--config.=None'], 'there is no field'),
    'too many examples': (['--config.data.train_examples=100000'], 'data.train_examples=100000'),
    'missing config file': (['--config=nowhere/nope.py'], '--config=nowhere/nope.py: there is no such file'),
    'unknown variant': (['--config=configs/digits.py:tny'], 'tny is unknown; tiny would do'),
    'a fraction beside a count': (
        ['--config.data.train_examples=100', '--config.data.train_fraction=0.5'],
        '--config.data.train_fraction=0.5 changes nothing: data.train_examples=100 goes before it',
    ),
    "a kernel's size without a kernel": (['--config.model.kernel_size=5'], "model.mixer='attention' has no kernel"),
    'a long name': ([f'--config={"a" * 300}.py'], 'File name too long'),
    'a file in a word of its own': (['--config', 'configs/digit.py'], 'did you mean configs/digits.py?'),
    'two config files': (
        ['--config=configs/digits.py', '--config=configs/base.py'],
        '--config=configs/digits.py and --config=configs/base.py: one of them would do',
    ),
    'two in words of their own': (
        ['--config', 'configs/digits.py', '--config', 'configs/base.py'],
        '--config=configs/digits.py and --config=configs/base.py: one of them would do',
    ),
    'unknown flag': (['--confg=x'], 'confg'),
    'one dash': (['-config.model.num_head=3'], 'did you mean model.num_heads?'),
    'no workdir': (['--workdir='], '--workdir'),
    'stray word': (['seed=3'], "'seed=3' is not a flag"),
}


def test_a_flag_of_another_command_is_named():
    code, out, err = command('report.py', '--config=nowhere.py', '--workdir=runs')
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert "Unknown command line flag 'config'" in err


@pytest.mark.parametrize('module', ['train', 'eval', 'sweep', 'report', 'analysis.heads.__main__', 'data.prepare'])
def test_a_mistake_does_not_wait_for_jax(module):
    code, out, err = command('-c', f'import sys, {module}; print({{"jax", "scipy", "tensorflow"}} & {{*sys.modules}})')
    assert (code, out) == (0, 'set()\n'), err


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_line_and_writes_nothing(name, tmp_path):
    arguments, message = BAD[name]
    names_file = any(one.partition('=')[0] == '--config' for one in arguments)
    file = [] if names_file else ['--config=configs/digits.py']
    code, out, err = command('train.py', *file, f'--workdir={tmp_path / "w"}', *arguments)
    assert code == 2
    assert out == ''
    assert err.count('\n') == 1
    assert err.startswith('train.py: ')
    assert message in err
    assert not (tmp_path / 'w').exists()


BAD_FILES = {
    'misspelt field': ('config.model.num_head = 3', 'did you mean model.num_heads?'),
    'a field as it is called elsewhere': ('config.train.lr = 3', 'did you mean train.learning_rate?'),
    'wrong type': ("config.model.num_heads = 'many'", 'many'),
    'syntax': ('config.model.num_heads ==== 3', 'invalid syntax'),
    'import': ('import no_such_module', 'no_such_module'),
    'nothing returned': ('return', 'returns nothing'),
    'a function of its own': ('(lambda: 0)(1)', '<lambda>() takes 0 positional arguments but 1 was given'),
    "another module's": ('import json; json.get_config()', "module 'json' has no attribute 'get_config'"),
    'an end': ('import sys; sys.exit(0)', 'SystemExit: 0'),
    'not from base.py': ('import ml_collections; return ml_collections.ConfigDict()', 'starts from configs/base.py'),
}


@pytest.mark.parametrize('name', BAD_FILES)
def test_a_mistake_in_a_config_file_is_one_line(name, tmp_path):
    line, message = BAD_FILES[name]
    path = tmp_path / 'mine.py'
    path.write_text(FILE.format(line=line))
    code, _, err = command('train.py', f'--config={path}', f'--workdir={tmp_path / "w"}')
    assert code == 2
    assert err.count('\n') == 1
    assert message in err
    assert 'mine.py' in err
    assert not (tmp_path / 'w').exists()


def test_a_field_that_a_file_set_may_be_unset(trained, tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(FILE.format(line='config.train.steps = 3'))
    small = [one for one in SMALL if 'train.steps' not in one]
    flags = f'--config={file}', f'--workdir={trained[0]}', '--config.train.steps=None'
    code, _, err = command('train.py', *flags, *small)
    assert (code, err.count('\n')) == (2, 1)
    assert 'train.steps=6 there, None here' in err


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--coordinates=extend'], '--coordinates=extend says nothing without --resolutions'),
        (['--resolutions=8,9'], '--resolutions=9 is no multiple of model.patch_size=2; 8 or 10 would do'),
    ],
)
def test_resolutions_that_cannot_be_asked_are_one_line(trained, flags, message):
    workdir, *_ = trained
    code, out, err = command('eval.py', f'--workdir={workdir}', *flags)
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert message in err


def test_a_field_that_every_row_of_a_sweep_sets_cannot_be_set_beside_it(tmp_path):
    arguments = '--config=configs/demo.py', f'--workdir={tmp_path / "w"}'
    code, _, err = command('sweep.py', *arguments, '--config.seed=5')
    assert (code, err.count('\n')) == (2, 1)
    assert '--config.seed=5 changes nothing: every row of sweep() sets seed' in err
    assert not (tmp_path / 'w').exists()


def test_a_folder_of_runs_is_no_run(trained):
    workdir, *_ = trained
    for script, flags in (('train.py', ['--config=configs/digits.py']), ('eval.py', [])):
        code, _, err = command(script, f'--workdir={workdir.parent}', *flags)
        assert (code, err.count('\n')) == (2, 1)
        assert f'such as {workdir}' in err
    assert not (workdir.parent / 'config.json').exists()


def test_a_workdir_that_cannot_be(trained, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    code, _, err = command('train.py', '--config=configs/digits.py', f'--workdir={tmp_path / "file" / "x"}')
    assert (code, err.count('\n')) == (2, 1)
    workdir, *_ = trained
    code, _, err = command('train.py', '--config=configs/digits.py', f'--workdir={workdir}')
    assert (code, err.count('\n')) == (2, 1)
    assert "another config's run" in err
    train, sweep = ('train.py', '--config=configs/digits.py'), ('sweep.py', '--config=configs/demo.py')
    long = tmp_path / ('n' * 300)
    for way, name in ((train, tmp_path / '[y]' / 'x'), (sweep, 'gs://bucket/x'), (train, long), (sweep, long)):
        code, _, err = command(*way, f'--workdir={name}')
        assert (code, err.count('\n')) == (2, 1), err
    assert not (tmp_path / '[y]').exists()


@pytest.mark.parametrize('script', ['eval.py', 'report.py'])
def test_a_folder_without_a_run(script, tmp_path):
    for workdir in (tmp_path, tmp_path / 'missing'):
        code, _, err = command(script, f'--workdir={workdir}')
        assert (code, err.count('\n')) == (2, 1)
        assert str(workdir) in err


def test_a_sweep_of_a_variant(tmp_path):
    code, out, err = command(
        'sweep.py', '--config=configs/demo.py:tiny', f'--workdir={tmp_path / "w"}', '--config.model.num_head=3'
    )
    assert (code, err.count('\n')) == (2, 1)
    code, out, err = command(
        'sweep.py', '--config=configs/demo.py:tiny', f'--workdir={tmp_path / "w"}', '--config.model.embed_dim=50'
    )
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert 'model.embed_dim=50' in err


def test_a_config_without_a_sweep(tmp_path):
    code, _, err = command('sweep.py', '--config=configs/digits.py', f'--workdir={tmp_path / "w"}')
    assert (code, err.count('\n')) == (2, 1)
    assert 'has no sweep()' in err
