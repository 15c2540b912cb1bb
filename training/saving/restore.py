"""The params of a run that was trained before."""

import functools
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from configs.errors import ConfigError
from data.spec import Spec
from files.reading import Damaged
from models import Model, Params
from training.saving import checkpoints
from training.step import State, build_model, state_shapes

MEND = 'remove its result.json, if it has one, and train it'


def restore_selected(config: ConfigDict, spec: Spec, folder: Path) -> tuple[Model, Params, int]:
    """The model of the run in `folder`, the params that its test used, and the step they are of.

    Of a run that is not finished, the best or the latest so far, as `checkpoint.select` says.

    Raises:
      ConfigError: there is no checkpoint, or none that can be read.
    """
    model, like = model_and_state(json.dumps({name: config[name].to_dict() for name in ('model', 'train')}), spec)
    latest = checkpoints.latest_step(folder)
    if not latest:
        raise ConfigError(f'--workdir={folder} has no checkpoint; {MEND}')
    try:
        state, progress = checkpoints.read(folder, latest, like)
        step = progress.selected(config.checkpoint.select, latest)
        if step != latest:
            state, _ = checkpoints.read(folder, step, like)
    except Damaged as error:
        raise ConfigError(f'--workdir={folder}: {error}; {MEND}') from error
    return model, jax.device_put(state.params), step


@functools.lru_cache(maxsize=4)
def model_and_state(fields: str, spec: Spec) -> tuple[Model, State]:
    """The model, and the shapes and types of its state: a second to build, and the seeds of an arm share them."""
    config = ConfigDict(json.loads(fields))
    model = build_model(config, spec)
    return model, state_shapes(config, model)
