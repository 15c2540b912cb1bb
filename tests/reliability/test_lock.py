"""One process in a folder, or the shares of a sweep; a dead one is in nobody's way."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from configs.errors import ConfigError
from experiment import lock
from experiment.run import execute
from tests.reliability.runs import ROOT, SMALL, finish, start

HOLD = """
import sys, time
from pathlib import Path
from experiment.lock import locked
with locked(Path(sys.argv[1]), shared='shared' in sys.argv):
    print('held', flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path, request):
    arguments = [sys.executable, '-c', HOLD, tmp_path, *getattr(request, 'param', ())]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize('script', ['train.py', 'sweep.py'])
def test_a_second_process_is_refused_in_one_line(holder, tmp_path, script):
    arguments = SMALL if script == 'train.py' else ['--config=configs/demo.py:tiny']
    code, out, err = finish(start(script, tmp_path, *arguments))
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert f'--workdir={tmp_path} is in use by process {holder.pid} on ' in err
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]


def test_a_dead_one_s_lock_is_taken_over(holder, config, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'PATIENCE', 0.1)
    with pytest.raises(ConfigError, match=f'in use by process {holder.pid}'):
        execute(config, tmp_path, lambda row, steps: None)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    (tmp_path / f'.metrics.jsonl.{holder.pid}.partial').write_text('it was killed while it wrote')
    (tmp_path / f'.probe.{holder.pid}.partial').write_text('')  # or while it tried whether it could
    assert execute(config, tmp_path, lambda row, steps: None)['status'] == 'finished'
    assert not [*tmp_path.glob('.*')]


def test_a_holder_that_ends_within_a_moment_is_waited_for(tmp_path, monkeypatch):
    """As the workers of a sweep that was killed do."""
    with (tmp_path / lock.LOCK).open('w') as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(lock.time, 'sleep', lambda seconds: other.close())
        with lock.locked(tmp_path):
            assert other.closed


@pytest.mark.parametrize('holder', [['shared']], indirect=True)
def test_shares_hold_a_folder_together_and_keep_others_away(holder, tmp_path, monkeypatch):
    """And none removes what another may be writing at this moment."""
    monkeypatch.setattr(lock, 'PATIENCE', 0.1)
    partial = tmp_path / '.sweep.json.1.partial'
    partial.touch()
    with lock.locked(tmp_path, shared=True), lock.locked(tmp_path, shared=True):
        assert partial.exists()
    with pytest.raises(ConfigError, match='and other shares of the sweep maybe; wait'), lock.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with lock.locked(tmp_path):
        assert not partial.exists()


@pytest.mark.parametrize(
    'name', ['config.json', 'result.json', 'failed.json', 'sweep.json', 'population.json', 'diverged.json']
)
def test_what_a_killed_holder_did_not_end_is_cleared_whatever_file_it_was(tmp_path, name):
    partial, others = tmp_path / f'.{name}.1.partial', tmp_path / '.notes.txt.1.partial'
    partial.touch()
    others.touch()
    with lock.locked(tmp_path):
        assert not partial.exists()
        assert others.exists()


def test_a_share_is_refused_while_a_whole_sweep_is_under_way(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'PATIENCE', 0.1)
    with pytest.raises(ConfigError, match=f'in use by process {holder.pid}'), lock.locked(tmp_path, shared=True):
        pass


def test_the_holder_that_is_named_is_the_latest_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, 'PATIENCE', 0.1)
    (tmp_path / lock.LOCK).write_text('process 1 on a machine, and other shares of the sweep maybe')
    named = f'in use by process {os.getpid()} on {re.escape(socket.gethostname())}; wait'
    with lock.locked(tmp_path), pytest.raises(ConfigError, match=named), lock.locked(tmp_path):
        pass


def test_where_there_are_no_locks_nothing_is_cleared_that_another_process_may_be_writing(tmp_path, monkeypatch, caplog):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(lock.fcntl, 'flock', no_locks)
    partial = tmp_path / '.result.json.1.partial'
    partial.touch()
    with lock.locked(tmp_path):
        assert partial.exists()
    assert 'cannot be locked (No locks available)' in caplog.text
