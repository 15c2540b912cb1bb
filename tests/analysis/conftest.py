"""Synthetic run folders, in the shape that train.py and sweep.py leave."""

import copy
import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import data
import models
from analysis.heads.trained import Trained
from configs import base
from experiment.checking.validate import validate
from files.checksums import with_checksum
from tests.analysis.arms import BEST, CLOSE, POOR


def _merge(tree: dict, changes: dict) -> dict:
    for path, value in changes.items():
        *folders, leaf = path.split('.')
        node = tree
        for folder in folders:
            node = node[folder]
        node[leaf] = value
    return tree


class Workdir:
    """Builds a sweep's folder run by run; `write` puts sweep.json there."""

    def __init__(self, path: Path):
        self.path = path
        self.listed: list[dict] = []

    def add(
        self,
        arm: str,
        seed: int,
        accuracy: float = 0.9,
        config: dict | None = None,
        result: dict | None = None,
        started: bool = True,
        finished: bool = True,
    ) -> Path:
        """Adds a run: `config` and `result` hold changes by dotted path. Returns its folder."""
        overrides = {**(config or {}), 'seed': seed}
        tree = _merge(base.get_config().to_dict(), overrides)
        name = hashlib.sha256(json.dumps([tree, arm], sort_keys=True).encode()).hexdigest()[:12]
        self.listed.append({'run': name, 'arm': arm, 'overrides': overrides})
        folder = self.path / name
        if started:
            folder.mkdir(parents=True)
            (folder / 'config.json').write_text(json.dumps(tree))
        if started and finished:
            content = {
                'status': 'finished',
                'config': copy.deepcopy(tree),
                'seed': seed,
                'git': {'commit': '0123456789abcdef', 'dirty': False},
                'versions': {'python': '3.11.2', 'jax': '0.10.2'},
                'device': {'kind': 'cpu', 'platform': 'cpu', 'count': 1},
                'params': 86410,
                'forward_flops': 2_812_345,
                'train': {'accuracy': 1.0, 'loss': 0.5, 'examples': 1293},
                'validation': {'accuracy': 0.95, 'loss': 0.6, 'examples': 144},
                'test': {'accuracy': accuracy, 'loss': 0.7, 'examples': 360},
                'selection': {'split': 'validation: 10% of train, stratified', 'rule': 'best', 'step': 320},
                'steps': 660,
                'images_seen': 84480,
                'compile_seconds': 3.2,
                'train_seconds': 20.5,
                'images_per_second': 4120.7 + seed,
                'peak_memory_bytes': None,
            }
            (folder / 'result.json').write_text(json.dumps(with_checksum(_merge(content, result or {}))))
        return folder

    def write(self) -> Path:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / 'sweep.json').write_text(json.dumps({'config': 'configs/demo.py', 'runs': self.listed}))
        return self.path


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(tmp_path / 'sweep')


@pytest.fixture
def trained():
    """trained(name, **fields) -> a model with attention and random params far from where they start."""

    def make(name='learned_1d', seed=0, **fields):
        config = base.get_config()
        config.update_from_flattened_dict({
            'data.name': 'synthetic', 'data.synthetic.image_size': 12, 'data.synthetic.channels': 1,
            'data.synthetic.train_examples': 40, 'data.synthetic.test_examples': 12, 'model.patch_size': 3,
            'model.embed_dim': 16, 'model.depth': 2, 'model.num_heads': 2, 'model.positions.name': name,
        } | {field.replace('__', '.'): value for field, value in fields.items()})  # fmt: skip
        spec = validate(config)
        draws = np.random.default_rng(seed)
        shapes = models.build(config.model, spec).shapes
        params = jax.tree.map(lambda leaf: jnp.asarray(0.4 * draws.normal(size=leaf.shape), leaf.dtype), shapes)
        return Trained(config, spec, params, 1, True)

    return make


@pytest.fixture
def images():
    """images(trained, count) -> test images of its data."""
    return lambda one, count=3: data.load(one.config.data).test.images[:count]


@pytest.fixture
def three_arms(workdir):
    for label, mixer, accuracies in (
        ('poor', 'identity', POOR),
        ('best', 'attention', BEST),
        ('close', 'conv', CLOSE),
    ):
        for seed, accuracy in enumerate(accuracies):
            workdir.add(label, seed, accuracy, {'model.mixer': mixer}, {'test.examples': 1000})
    return workdir
