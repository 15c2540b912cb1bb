"""The same config, twice on one machine, each in a process of its own that compiles anew: the same bits."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiment import folder
from experiment.checking.validate import validate
from experiment.environment import ROOT
from tests.reliability.runs import timeless
from training.recording.log import read_rows
from training.saving.restore import restore_selected

FIELDS = {
    'deterministic': True, 'data.name': 'synthetic', 'data.synthetic.image_size': 8, 'data.augment.crop': 1,
    'data.synthetic.train_examples': 110, 'data.synthetic.test_examples': 37, 'model.embed_dim': 16, 'model.depth': 1,
    'model.dropout': 0.1, 'train.steps': 6, 'train.batch_size': 16, 'train.eval_batch_size': 16, 'log.every': 1,
    'log.tensorboard': False, 'checkpoint.count': 2,
}  # fmt: skip
# Compiled with less care: what could differ is who adds up first, and that is decided elsewhere.
QUICK = '--xla_backend_optimization_level=0 --xla_cpu_collective_call_terminate_timeout_seconds=600'


def start(workdir, devices):
    environment = os.environ | {
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices} {QUICK}', 'JAX_PLATFORMS': 'cpu',
        'JAX_ENABLE_COMPILATION_CACHE': 'false',
    }  # fmt: skip
    fields = [f'--config.{name}={value}' for name, value in FIELDS.items()]
    command = [sys.executable, 'train.py', '--config=configs/base.py', f'--workdir={workdir}', *fields]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.parametrize('devices', [1, 2])
def test_a_run_is_the_same_bits_twice(tmp_path, devices):
    for process in [start(tmp_path / name, devices) for name in ('one', 'again')]:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
    results, rows, params = [], [], []
    for name in ('one', 'again'):
        workdir = tmp_path / name
        results.append(timeless(json.loads((workdir / folder.RESULT).read_text())))
        rows.append([timeless(row) for row in read_rows(workdir / 'metrics.jsonl')])
        config = folder.read_config(workdir)
        params.append(jax.tree.map(np.asarray, restore_selected(config, validate(config), workdir)[1]))
    assert results[0] == results[1]
    assert results[0]['device']['count'] == devices
    assert {'train', 'validation', 'test', 'params'} <= results[0].keys()
    assert rows[0] == rows[1]
    assert len(rows[0]) == 6 + 2
    same = jax.tree.map(lambda one, again: one.tobytes() == again.tobytes(), *params)
    assert all(jax.tree.leaves(same))
