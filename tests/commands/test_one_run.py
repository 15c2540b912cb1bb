"""train.py, eval.py and report.py on one run."""

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

from experiment import folder
from tests.commands.typed import ROOT, SMALL, command


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


def test_what_a_terminal_cannot_show_ends_no_run_in_vain(trained, tmp_path, monkeypatch):
    workdir = shutil.copytree(trained[0], tmp_path / 'é')
    monkeypatch.setenv('PYTHONIOENCODING', 'ascii')
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir={workdir}', *SMALL)
    assert code == 0, err
    assert '\\xe9' in out


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


def test_report_of_a_single_run(trained):
    workdir, *_ = trained
    code, out, err = command('report.py', f'--workdir={workdir}')
    assert code == 0, err
    assert (workdir / 'table.md').exists()
    assert 'Test' in out


def test_a_finished_run_says_that_nothing_was_trained_and_home_is_home(trained, monkeypatch):
    workdir, *_ = trained
    monkeypatch.setenv('HOME', str(workdir.parent))
    code, out, err = command('train.py', '--config=configs/digits.py', f'--workdir=~/{workdir.name}', *SMALL)
    assert code == 0, err
    assert out.startswith('finished before, and not trained again:\ntest accuracy')
    assert 'validation accuracy' in out


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


def test_help_is_no_mistake():
    code, out, err = command('train.py', '--help')
    assert (code, err) == (1, '')  # absl's status
    assert '--workdir' in out


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


def test_a_run_that_diverged_is_not_evaluated(trained, tmp_path):
    workdir, *_ = trained
    shutil.copytree(workdir, tmp_path / 'x')
    folder.write_result(tmp_path / 'x', {'status': 'diverged', 'diverged_step': 2})
    code, out, err = command('eval.py', f'--workdir={tmp_path / "x"}')
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert 'the run diverged' in err
