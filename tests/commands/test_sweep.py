"""A question of one's own, from its file to its tables; and what an interruption of it leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.typed import ROOT, SWEEP, command


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


def test_shares_of_a_sweep_and_a_table_by_the_last(tmp_path):
    config, workdir = tmp_path / 'mine.py', tmp_path / 'runs'
    config.write_text(SWEEP.format(steps=6))
    code, out, err = command('sweep.py', f'--config={config}', f'--workdir={workdir}', '--share=2/2')
    assert code == 0, err
    assert '2 of 4 runs are left to other shares' in out
    assert not (workdir / 'table.md').exists()
    assert len(list(workdir.glob('*/result.json'))) == 2
    code, out, err = command('sweep.py', f'--config={config}', f'--workdir={workdir}', '--share=1/2')
    assert code == 0, err
    assert 'finished before' not in err
    assert str(workdir / 'table.md') in out
    assert len(list(workdir.glob('*/result.json'))) == 4


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
    assert 'interrupted by SIGINT; every run under way is saved; the same command resumes from there' in err
    assert 'Traceback' not in err
    for _ in range(100):
        if not is_there(process.pid):
            break
        time.sleep(0.1)
    assert not is_there(process.pid)
    assert not list(workdir.glob('*/result.json'))
