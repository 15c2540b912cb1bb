"""A trained run with attention, as everything that looks at its heads wants it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs.errors import ConfigError
from configs.fields import flatten
from data.spec import Spec, Split
from experiment import folder
from experiment.checking.validate import validate
from files.text import clean
from models import Params
from models.patches import Grid, patch_grid
from training.saving.restore import restore_selected

CAPTURED_BYTES = 64 << 20  # attention weights of a batch, all layers together


class Trained(NamedTuple):
    """A run with attention, and the params that its test used."""

    config: ConfigDict
    spec: Spec
    params: Params
    step: int
    finished: bool

    @property
    def grid(self) -> Grid:
        return patch_grid(self.spec.image_shape, self.config.model.patch_size)

    @property
    def batch_size(self) -> int:
        """Images whose attention fits CAPTURED_BYTES; at least one."""
        tokens = self.grid[0] * self.grid[1]
        return max(1, CAPTURED_BYTES // (4 * self.config.model.depth * self.config.model.num_heads * tokens**2))


def load_trained(workdir: Path) -> Trained:
    """The run in `workdir`.

    Raises:
      ConfigError: it has no attention, it diverged, or it has no checkpoint that can be read.
    """
    config = folder.read_config(workdir)
    lack = lacks_attention(config.to_dict())
    if lack:
        raise ConfigError(f'--workdir={workdir}: {lack}; a run with model.mixer=attention would do')
    finished = folder.read_undiverged(workdir) is not None
    spec = validate(config, to_train=False)
    _, params, step = restore_selected(config, spec, workdir)
    return Trained(config, spec, params, step, finished)


Load = Callable[[Path], Trained]  # load_trained, or the same with a memory


def lacks_attention(config: dict | None) -> str:
    """Why a run has no attention weights, by its config, which may hold anything, or be missing; '' where it has."""
    fields = flatten(config or {})
    for name, wanted in (('model.name', 'backbone'), ('model.mixer', 'attention')):
        if not isinstance(fields.get(name), str):
            return f'its config does not say {name}, so nothing is known of attention weights'
        if fields[name] != wanted:
            return f'{name}={clean(fields[name])} has no attention weights'
    return ''


def sample(split: Split, images: int) -> Split:
    """`images` of a split, or all it has, in its order: drawn at random, and always the same.

    Neither the first ones nor every second one would do, of a split that is sorted by class or in which classes take
    turns. Any smaller sample is part of a larger one.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(split.labels))[:images])
    return Split(split.images[rows], split.labels[rows])


def model_fields(config: ConfigDict) -> str:
    """All that a program depends on beside the data's spec: one program serves all seeds of an arm."""
    return json.dumps({'model': config.model.to_dict(), 'dtype': config.train.compute_dtype}, sort_keys=True)
