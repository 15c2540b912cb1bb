"""The convolution of a trained run."""

from pathlib import Path

import numpy as np

from analysis.convolution.attention import Bias, Kernel
from configs.errors import ConfigError
from experiment import folder
from experiment.checking.validate import validate
from models.patches import Grid, patch_grid
from training.saving.restore import restore_selected


def first_convolution(workdir: Path) -> tuple[Kernel, Bias, Grid]:
    """Kernel and bias of the first layer of a trained run, and the grid that it works on.

    A depthwise kernel comes as the full one that it stands for.

    Raises:
      ConfigError: the run has no convolution on patches, it diverged, or it has no checkpoint.
    """
    config = folder.read_config(workdir)
    what = f'model.mixer={config.model.mixer}' if config.model.name == 'backbone' else f'model.name={config.model.name}'
    if what not in ('model.mixer=conv', 'model.mixer=depthwise_conv'):
        raise ConfigError(f'--workdir={workdir}: {what} has no convolution of patches; model.mixer=conv would do')
    folder.read_undiverged(workdir)
    spec = validate(config, to_train=False)
    _, params, _ = restore_selected(config, spec, workdir)
    layer = params['blocks'][0]['mixer']['conv']
    kernel, bias = np.asarray(layer['kernel']), np.asarray(layer['bias'])
    if config.model.mixer == 'depthwise_conv':
        kernel = kernel * np.eye(len(bias), dtype=kernel.dtype)
    return kernel, bias, patch_grid(spec.image_shape, config.model.patch_size)
