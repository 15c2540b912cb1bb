"""Runs as a user's processes, to be killed at any moment, and what must be equal about them in the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data import spec
from experiment import folder
from experiment.environment import ROOT
from training.recording.log import read_rows
from training.saving import checkpoints
from training.saving.restore import model_and_state

# Half a minute of steps at most, dropout and augmentation on, rows that end between checkpoints.
SMALL = (
    *('--config=configs/digits.py', '--config.model.embed_dim=16', '--config.model.depth=1'),
    *('--config.model.dropout=0.1', '--config.data.augment.crop=1', '--config.train.batch_size=32'),
    *('--config.train.steps=420', '--config.log.every=7', '--config.checkpoint.count=12'),
    '--config.log.tensorboard=false',
)
STEPS = 420
# What a clock measured, and at which commit a run came to its end.
TIMES = ('git', 'begun_by', 'rows', 'compilation_cache', 'host_gap_share', 'mfu', 'sha256', 'flops_per_second')


def start(script: str, workdir: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The command, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, script, f'--workdir={workdir}', *arguments],
        cwd=ROOT,
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'COLUMNS': '160'} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command that comes to its end by itself."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_until(process: subprocess.Popen, ready: Callable[[], object]) -> bool:
    """Waits until `ready`; whether the process lived until then."""
    until = time.monotonic() + 300
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.0005)
    return True


def stop_when(process: subprocess.Popen, ready: Callable[[], object], signum: int = signal.SIGKILL) -> bool:
    """Sends `signum` to the process as soon as `ready`; whether it lived until then."""
    alive = wait_until(process, ready)
    if alive:
        os.kill(process.pid, signum)
    return alive


def killed_in(phase: str, workdir: Path, delay: float) -> bool:
    """Starts the run in `workdir` and kills it `delay` seconds into a phase; whether it came to that."""
    process = start('train.py', workdir, *SMALL)
    ready = phases(workdir)[phase]
    alive = stop_when(process, lambda: ready() and not time.sleep(delay))
    process.communicate()
    return alive and process.returncode == -signal.SIGKILL


def phases(workdir: Path) -> dict[str, Callable[[], bool]]:
    """The moments at which a run is killed, by name: each tells whether it is there."""
    before = newest_row(workdir)

    def saving() -> bool:
        # Orbax is writing, or has written what is not sealed yet; and not what the process before left.
        return newest_row(workdir) > before and any(
            '.orbax' in path.name or not (path / 'SHA256SUMS').exists() for path in (workdir / 'checkpoints').glob('*')
        )

    return {
        'compiling': (workdir / 'lock').exists,
        'stepping': lambda: newest_row(workdir) > before,
        'saving': saving,
        'finishing': lambda: newest_row(workdir) == STEPS,
    }


def newest_row(workdir: Path) -> int:
    """The step of the last row of metrics.jsonl; 0 where there is none."""
    rows = read_rows(workdir / 'metrics.jsonl')
    return int(rows[-1]['step']) if rows else 0


def assert_same_end(one: Path, other: Path) -> None:
    """Results, rows (times aside), and every array of the last checkpoint are equal, bit for bit."""
    results = [timeless(json.loads((run / 'result.json').read_text())) for run in (one, other)]
    assert results[0] == results[1]
    rows = [[timeless(row) for row in read_rows(run / 'metrics.jsonl')] for run in (one, other)]
    assert rows[0] == rows[1]
    assert checkpoints.steps(one) == checkpoints.steps(other)
    states = [arrays(run) for run in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        assert array.dtype == states[1][name].dtype
        assert array.tobytes() == states[1][name].tobytes(), name


def timeless(tree: dict) -> dict:
    """A result or a row without what a clock measured."""
    return {
        name: value
        for name, value in tree.items()
        if name not in TIMES and not name.endswith(('_seconds', '_per_second'))
    }


def arrays(run: Path) -> dict[str, np.ndarray]:
    """Params, optimiser's state, step and sums of the last checkpoint of a run, by name."""
    config = folder.read_config(run)
    fields = json.dumps({name: config[name].to_dict() for name in ('model', 'train')})
    _, like = model_and_state(fields, spec(config.data))
    state, _ = checkpoints.read(run, checkpoints.latest_step(run), like)
    return {name: np.asarray(leaf) for name, leaf in checkpoints.leaves(state).items()}
