"""A run whose heads look at one offset each, and nowhere else: what must be said of it is known."""

import contextlib
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import models
from experiment.checking.validate import validate
from training.progress import Progress
from training.saving import checkpoints
from training.step import initial_state

OFFSETS = ((0, 1), (1, -1))  # rows and columns: where its two heads look
SHARPNESS = 40.0  # one patch further weighs exp(-800), which is 0


def look_at(folder: Path, config, offsets) -> None:
    """Puts params into a run of gaussian positions whose heads look at one offset each, and nowhere else."""
    model = models.build(config.model, validate(config))
    state = initial_state(config, model, jax.random.key(0))
    for encoding in state.params['positions'].values():
        encoding['centres'] = jnp.asarray(offsets, jnp.float32)
        encoding['spreads'] = jnp.broadcast_to(SHARPNESS * jnp.eye(2), (len(offsets), 2, 2))
    shutil.rmtree(folder / 'checkpoints')
    with contextlib.closing(checkpoints.Checkpoints(folder, keep=1)) as saver:
        progress = Progress(compile_seconds=0.0).validated(6, {'accuracy': 0.5, 'loss': 1.0})
        saver.save(6, state._replace(step=jnp.int32(6)), progress)


def expected_keys(offset, grid=(4, 4)):
    """The patch that each patch of a grid looks at: at the offset, or the nearest to that in the grid."""
    places = np.indices(grid).reshape(2, -1).T
    return np.clip(places + offset, 0, np.array(grid) - 1) @ (grid[1], 1)
