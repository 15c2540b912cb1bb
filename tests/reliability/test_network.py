"""Nothing listens on a network: not while models train in several processes, nor while the report is written."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from experiment.environment import ROOT
from tests.quick import QUICKLY

LISTEN, UNCONNECTED = '0A', '07'  # as the kernel writes them: of TCP, and of UDP

pytestmark = pytest.mark.skipif(not Path('/proc/net/tcp').exists(), reason='asks the kernel of Linux')

SWEEP = """
    from configs import base


    def get_config(variant=''):
        config = base.get_config()
        config.update_from_flattened_dict({
            'data.name': 'synthetic', 'data.synthetic.image_size': 4, 'data.synthetic.train_examples': 16,
            'data.synthetic.test_examples': 8, 'model.embed_dim': 4, 'model.depth': 1, 'model.mixer': 'identity',
            'model.positions.name': 'none', 'train.steps': 2, 'train.batch_size': 4, 'train.eval_batch_size': 8,
            'checkpoint.count': 1,
        })
        return config


    def sweep():
        return [{'seed': 0}, {'seed': 1}]
"""


def family(process):
    """The ids of a process and all its descendants."""
    found, waiting = [], [process]
    while waiting:
        found.append(waiting.pop())
        for path in Path(f'/proc/{found[-1]}/task').glob('*/children'):
            try:
                waiting += map(int, path.read_text().split())
            except OSError:  # it ended meanwhile
                continue
    return found


def listening(processes):
    """What these processes listen to: protocol and local address, as the kernel writes it."""
    held = set()
    for process in processes:
        try:
            held |= {os.readlink(path) for path in Path(f'/proc/{process}/fd').iterdir()}
        except OSError:
            continue
    found = set()
    for protocol, state in (('tcp', LISTEN), ('tcp6', LISTEN), ('udp', UNCONNECTED), ('udp6', UNCONNECTED)):
        path = Path('/proc/net') / protocol
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            bound = fields[1].rpartition(':')[2] != '0000'
            if fields[3] == state and bound and f'socket:[{fields[9]}]' in held:
                found.add((protocol, fields[1]))
    return found


def watched(*arguments):
    """Runs a command; its exit status and errors, the most processes at a time, and what any of them listened to."""
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': QUICKLY}
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        most, heard = 0, set()
        while process.poll() is None:
            processes = family(process.pid)
            most = max(most, len(processes))
            heard |= listening(processes)
            time.sleep(0.1)
        return process.returncode, process.stderr.read(), most, heard


@pytest.mark.parametrize(('kind', 'protocol'), [('SOCK_STREAM', 'tcp'), ('SOCK_DGRAM', 'udp')])
def test_a_grandchild_that_listens_is_noticed(kind, protocol):
    inner = f"""
        import socket, time
        with socket.socket(socket.AF_INET, socket.{kind}) as server:
            server.bind(('127.0.0.1', 0))
            {'server.listen()' if kind == 'SOCK_STREAM' else ''}
            time.sleep(0.7)
    """
    outer = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {textwrap.dedent(inner)!r}], check=True)'
    code, errors, most, heard = watched('-c', outer)
    assert (code, errors) == (0, '')
    assert most >= 2
    assert {name for name, _ in heard} == {protocol}


def test_nothing_listens_while_a_sweep_trains_and_its_report_is_written(tmp_path):
    (tmp_path / 'mine.py').write_text(textwrap.dedent(SWEEP))
    workdir = tmp_path / 'sweep'
    code, errors, most, heard = watched(
        'sweep.py', f'--config={tmp_path / "mine.py"}', f'--workdir={workdir}', '--workers=2', '--together=1'
    )
    assert code == 0, errors
    assert most >= 3  # the sweep and its two workers
    assert heard == set()
    code, errors, _, heard = watched('report.py', f'--workdir={workdir}')
    assert code == 0, errors
    assert heard == set()
    assert (workdir / 'report.html').exists()
