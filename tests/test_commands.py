"""Whole commands, as a user types them."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment import folder

ROOT = Path(__file__).resolve().parent.parent

SMALL = [
    '--config.model.embed_dim=16',
    '--config.model.depth=1',
    '--config.train.steps=6',
    '--config.checkpoint.count=2',
]


def command(*arguments, cwd=ROOT):
    """Runs a command of the repository and returns its exit status, stdout and stderr."""
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'COLUMNS': '160'}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('runs') / 'x'
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={workdir}', '--profile', *SMALL)
    assert code == 0, err
    return workdir, out, err


def test_train_leaves_a_run_folder_and_says_where(trained):
    workdir, out, err = trained
    assert 'test accuracy' in out
    assert str(workdir) in out
    assert 'step 6/6' in err
    names = {path.name.split('.')[0] for path in workdir.iterdir()}
    assert {'config', 'metrics', 'result', 'checkpoints', 'log', 'events'} <= names
    assert json.loads((workdir / 'result.json').read_text())['status'] == 'finished'


def test_a_profile_of_its_steps_opens_in_perfetto(trained):
    workdir, out, _ = trained
    (trace,) = workdir.glob('profile/plugins/profile/*/perfetto_trace.json.gz')
    assert f'trace: {trace}' in out
    events = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
    assert any(event['name'].startswith('dispatch') for event in events if event.get('ph') == 'X')
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={workdir}', '--profile', *SMALL)
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert 'is finished' in err


def test_the_next_start_finds_its_programs_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'caches'))  # where no other test has left any
    for name in ('first', 'next'):
        code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={tmp_path / name}', *SMALL)
        assert code == 0, err
        counted = json.loads((tmp_path / name / 'result.json').read_text())['compilation_cache']
        assert f'{counted["hits"]} programs came from the cache, {counted["misses"]} were compiled' in out
        assert (counted['misses'] == 0) == (name == 'next')
    assert counted['hits'] > 0


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_eval_equals_training_on_every_split(trained, split):
    workdir, *_ = trained
    code, out, err = command('eval.py', f'--workdir={workdir}', f'--split={split}')
    assert code == 0, err
    reported = json.loads((workdir / 'result.json').read_text())[split]
    assert f'{reported["examples"]:,} images' in out
    assert f'accuracy {reported["accuracy"]:.4%}, loss {reported["loss"]:.6f}' in out
    assert f'equal to what training reported: {reported["accuracy"]:.4%}' in out
    rows = out.split('taken for\n')[1].splitlines()[1:]
    assert sum(int(count) for row in rows for count in row.split()[1:]) == reported['examples']


def test_a_reader_that_leaves_is_no_error(trained):
    workdir, *_ = trained
    shell = f'{sys.executable} eval.py --workdir={workdir} | true; echo ${{PIPESTATUS[0]}}'
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(['bash', '-c', shell], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ('141\n', '')


def test_a_run_that_diverged_is_not_evaluated(trained, tmp_path):
    workdir, *_ = trained
    shutil.copytree(workdir, tmp_path / 'x')
    folder.write_result(tmp_path / 'x', {'status': 'diverged', 'diverged_step': 2})
    code, out, err = command('eval.py', f'--workdir={tmp_path / "x"}')
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert 'the run diverged' in err


def test_report_of_a_single_run(trained):
    workdir, *_ = trained
    code, out, err = command('report.py', f'--workdir={workdir}')
    assert code == 0, err
    assert (workdir / 'table.md').exists()
    assert 'Test' in out


SWEEP = """
from configs import digits

FIGURE = {{'x': 'mixer', 'scale': 'category'}}


def get_config(variant=''):
    config = digits.get_config('tiny')
    config.model.embed_dim, config.model.depth = 16, 1
    config.train.steps, config.checkpoint.count = {steps}, 1
    return config


def sweep():
    return [
        {{'arm': mixer, 'against': against, 'curve': 'digits', 'x': mixer, 'model.mixer': mixer, 'seed': seed}}
        for mixer, against in (('attention', None), ('conv', 'attention'))
        for seed in range(2)
    ]
"""


def test_a_question_of_one_s_own(tmp_path):
    """One config file: a sweep, its table and figure, an interruption, the same command again, other resolutions."""
    config, workdir = tmp_path / 'mine.py', tmp_path / 'runs'
    config.write_text(SWEEP.format(steps=6))
    code, out, err = command('sweep.py', f'--config={config}', f'--workdir={workdir}')
    assert code == 0, err
    assert 'attention' in out
    assert 'conv' in out
    assert '4/4 runs' in err
    tables = ('table.md', 'table.tex', 'table.csv', 'table_runs.csv', 'table_pairs.csv')
    for name in (*tables, 'figure.svg', 'figure.png', 'figure.csv'):
        assert str(workdir / name) in out
        assert (workdir / name).stat().st_size > 0
    folders = sorted(path.name for path in workdir.iterdir() if path.is_dir())
    assert len(folders) == 4
    # What an interruption leaves behind: one run without its result.
    (workdir / folders[0] / 'result.json').unlink()
    code, again, err = command('sweep.py', f'--config={config}', f'--workdir={workdir}')
    assert code == 0, err
    assert '3 of 4 runs were finished before' in err
    assert sorted(path.name for path in workdir.iterdir() if path.is_dir()) == folders
    code, report, err = command('report.py', f'--workdir={workdir}')
    assert code == 0, err
    assert report.splitlines()[:6] == again.splitlines()[:6]
    code, out, err = command('eval.py', f'--workdir={workdir}', '--resolutions=8,12', '--coordinates=rescale')
    assert code == 0, err
    assert '36 tokens' in out
    accuracy = (workdir / 'table.md').read_text().split('| attention')[1].split('|')[1].split('±')[0].strip(' *†')
    assert f'| attention | {accuracy}' in ' '.join((workdir / 'extrapolation.md').read_text().split())


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


BAD = {
    'unknown field': (['--config.model.num_head=3'], 'did you mean model.num_heads?'),
    'group of fields': (['--config.model=3'], 'group of fields'),
    'wrong type': (['--config.model.num_heads=three'], 'num_heads=three'),
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
    'missing config file': (['--config=configs/nope.py'], "No such file or directory: 'configs/nope.py'"),
    'unknown variant': (['--config=configs/digits.py:tny'], 'tny is unknown; tiny would do'),
    'a fraction beside a count': (
        ['--config.data.train_examples=100', '--config.data.train_fraction=0.5'],
        '--config.data.train_fraction=0.5 changes nothing: data.train_examples=100 goes before it',
    ),
    "a kernel's size without a kernel": (['--config.model.kernel_size=5'], "model.mixer='attention' has no kernel"),
    'unknown flag': (['--confg=x'], 'confg'),
    'one dash': (['-config.model.num_head=3'], 'did you mean model.num_heads?'),
    'no workdir': (['--workdir='], '--workdir'),
    'stray word': (['seed=3'], "'seed=3' is not a flag"),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_line_and_writes_nothing(name, tmp_path):
    arguments, message = BAD[name]
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={tmp_path / "w"}', *arguments)
    assert code == 2
    assert out == ''
    assert err.count('\n') == 1
    assert err.startswith('train.py: ')
    assert message in err
    assert not (tmp_path / 'w').exists()


FILE = """
from configs import digits


def get_config():
    config = digits.get_config()
    {line}
    return config
"""

BAD_FILES = {
    'misspelt field': ('config.model.num_head = 3', 'num_head'),
    'wrong type': ("config.model.num_heads = 'many'", 'many'),
    'syntax': ('config.model.num_heads ==== 3', 'invalid syntax'),
    'import': ('import no_such_module', 'no_such_module'),
    'nothing returned': ('return', 'returns nothing'),
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


def test_help_is_no_mistake():
    code, out, err = command('train.py', '--help')
    assert (code, err) == (1, '')  # absl's status
    assert '--workdir' in out


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


def test_a_finished_run_says_that_nothing_was_trained_and_home_is_home(trained, monkeypatch):
    workdir, *_ = trained
    monkeypatch.setenv('HOME', str(workdir.parent))
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir=~/{workdir.name}', *SMALL)
    assert code == 0, err
    assert out.startswith('finished before, and not trained again:\ntest accuracy')
    assert 'validation accuracy' in out


def test_a_field_that_a_file_set_may_be_unset(trained, tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(FILE.format(line='config.train.steps = 3'))
    small = [one for one in SMALL if 'train.steps' not in one]
    flags = f'--config={file}', f'--workdir={trained[0]}', '--config.train.steps=None'
    code, _, err = command('train.py', *flags, *small)
    assert (code, err.count('\n')) == (2, 1)
    assert 'train.steps=6 there, None here' in err


def test_too_little_memory_is_one_line(tmp_path):
    """Where the system refuses memory rather than kills for it, as accelerators do."""
    code, _, err = command(
        '-c',
        'import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33)); '
        'sys.argv = sys.argv[1:]; sys.path.insert(0, "."); runpy.run_path(sys.argv[0], run_name="__main__")',
        'train.py', '--config=configs/digits.py', f'--workdir={tmp_path / "w"}', '--config.model.patch_size=1',
        '--config.model.num_heads=64', '--config.model.depth=7', '--config.train.batch_size=1000',
        '--config.train.accumulate=1', '--config.train.steps=2',
    )  # fmt: skip
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith('train.py: out of memory (RESOURCE_EXHAUSTED: ')], err
    assert 'Traceback' not in err


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


def is_there(group):
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# A shell's background jobs ignore SIGINT, and so would what they start. (Popen's preexec_fn would run Python in a fork
# of this process, whose other threads may hold any lock: it may hang.)
HEARS_SIGINT = """import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"""


def workers(process):
    """The processes that it started to train."""
    children = [Path('/proc') / child for child in Path(f'/proc/{process}/task/{process}/children').read_text().split()]
    return [child for child in children if b'spawn_main' in (child / 'cmdline').read_bytes()]


def hears_sigint(process):
    status = dict(line.split(':\t', 1) for line in (process / 'status').read_text().splitlines())
    return not any(int(status[name], 16) >> (signal.SIGINT - 1) & 1 for name in ('SigBlk', 'SigIgn'))


@pytest.mark.parametrize('moment', ['workers start', 'they train'])
def test_a_sweep_that_is_interrupted_leaves_no_process_behind(moment, tmp_path):
    if moment == 'workers start' and sys.platform != 'linux':
        pytest.skip('this system does not tell when that is')
    config, workdir = tmp_path / 'mine.py', tmp_path / 'runs'
    config.write_text(SWEEP.format(steps=3000))
    arguments = ['sweep.py', f'--config={config}', f'--workdir={workdir}', '--workers=2']
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    process = subprocess.Popen(
        [sys.executable, '-c', HEARS_SIGINT, *arguments, '--config.checkpoint.count=30'],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip

    def is_there_yet():
        if moment == 'they train':
            return list(workdir.glob('*/checkpoints/[0-9]*'))
        return workers(process.pid)

    while process.poll() is None and not is_there_yet():
        time.sleep(0.02)
    # They would tell of it with a traceback each.
    assert sys.platform != 'linux' or not any(map(hears_sigint, workers(process.pid)))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 'interrupted by SIGINT; every run under way is saved; the same command goes on from there' in err
    assert 'Traceback' not in err
    for _ in range(100):
        if not is_there(process.pid):
            break
        time.sleep(0.1)
    assert not is_there(process.pid)
    assert not list(workdir.glob('*/result.json'))


def test_imagenet_s_model_takes_a_step_on_synthetic_images(tmp_path):
    """ViT-S/16 at 224 x 224, whole; fewer images than `:tiny` has."""
    code, out, err = command(
        'train.py',
        '--config=configs/imagenet.py:tiny',
        f'--workdir={tmp_path / "w"}',
        '--config.train.steps=1',
        '--config.train.batch_size=2',
        '--config.train.eval_batch_size=2',
        '--config.data.synthetic.train_examples=8',
        '--config.data.synthetic.test_examples=2',
    )
    assert code == 0, err
    assert '21,591,172 params' in out


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
