"""A sweep that was trained, and what its models say of images of other sizes."""

import contextlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import data
import models
from analysis.extrapolation import measure
from experiment import folder
from experiment.sweeping import schedule, sweeps
from experiment.sweeping.manifest import open_sweep
from tests.analysis.extrapolation.sweep import POLICIES, SEEDS, SIDES, experiment
from tests.once import once
from training.progress import Progress
from training.saving import checkpoints
from training.step import state_shapes


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """A sweep of one arm that was trained, and two that were not, whose result.json therefore cannot be true."""
    return Path(once(tmp_path_factory, 'extrapolated', lambda: str(train(tmp_path_factory.mktemp('runs') / 'sweep'))))


def train(workdir):
    rows = [{'arm': 'attention', 'model.positions.name': 'learned_1d', 'seed': seed} for seed in range(SEEDS)]
    rows += [{'arm': 'conv', 'model.mixer': 'conv', 'model.positions.name': 'none'}]
    rows += [{'arm': 'ResNet', 'model.name': 'resnet'}]
    planned = sweeps.plan(experiment(), rows)
    open_sweep(workdir, 'some.py', planned)
    assert schedule.run_all(planned[:SEEDS], workdir, workers=1) == {}
    result = folder.read_result(workdir / planned[0].name)
    for run in planned[SEEDS:]:
        leave_untrained(workdir / run.name, run.config)
        test = result['test'] | {'accuracy': 1 / 3}
        config = json.loads(run.config.to_json())
        folder.write_result(workdir / run.name, result | {'config': config, 'seed': 0, 'test': test})
    return workdir


def leave_untrained(workdir, config):
    folder.open_run(workdir, config)
    model = models.build(config.model, data.spec(config.data))
    shapes = state_shapes(config, model)
    draw = np.random.default_rng(0).normal
    state = jax.tree.map(lambda leaf: np.asarray(draw(0, 0.3, leaf.shape), leaf.dtype), shapes)
    state = state._replace(step=np.int32(12))
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        saver.save(12, state, Progress(0.0).validated(12, {'accuracy': 0.5, 'loss': 1.0}))


@pytest.fixture(scope='session')
def found(trained):
    return measure.measure(trained, SIDES, POLICIES)


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / 'sweep')
