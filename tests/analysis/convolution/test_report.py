import contextlib
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import models
from analysis.convolution import report
from analysis.convolution.trained import first_convolution
from configs import base
from configs.errors import ConfigError
from experiment import folder
from experiment.checking.validate import validate
from experiment.environment import ROOT
from training.progress import Progress
from training.saving import checkpoints
from training.saving.restore import restore_selected
from training.step import state_shapes


@pytest.fixture
def config():
    """An experiment of seconds."""
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.train_examples = 8, 64
    config.model.patch_size, config.model.embed_dim, config.model.depth = 2, 16, 1
    return config


def checkpointed(config, workdir):
    """A run's folder with one checkpoint, of random params: nothing here looks at what they learnt."""
    folder.open_run(workdir, config)
    model = models.build(config.model, validate(config))
    draws = np.random.default_rng(0)
    like = state_shapes(config, model)
    state = jax.tree.map(lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), like)
    state = state._replace(step=np.int32(1))
    with contextlib.closing(checkpoints.Checkpoints(workdir, keep=1)) as saver:
        progress = Progress(compile_seconds=0.0).validated(1, {'accuracy': 0.5, 'loss': 1.0})
        saver.save(1, jax.device_put(state), progress)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((None, 4, None), r'--kernel_size=4 has no centre; 3 or 5 would do'),
        ((None, None, '7'), r'--grid=7 is no grid'),
        ((None, None, '0x7'), r'--grid=0x7 is no grid'),
        ((None, None, '999x999'), r'--grid=999x999 with the 9 heads of --kernel_size=3 is too large'),
    ],
)
def test_bad_flags_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        report.report(*arguments)


def columns(text):
    rows = [line.split() for line in text.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    return np.array([[float(cell) for cell in row if cell != '-'] for row in rows if len(row) == 5])


def test_the_command():
    environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
    arguments = [sys.executable, '-m', 'analysis.convolution', '--kernel_size=1', '--grid=2x3']
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first = '1 x 1 convolution (of random weights) as attention of 1 heads, on 2 x 3 tokens.'
    assert done.stdout.splitlines()[0] == first
    assert len(columns(done.stdout)) == len(report.SHARPNESSES)


@pytest.mark.parametrize('mixer', ['conv', 'depthwise_conv'])
def test_a_run_s_convolution(config, tmp_path, capsys, mixer):
    config.model.mixer = mixer
    checkpointed(config, tmp_path)
    report.report(str(tmp_path), None, None)
    out = capsys.readouterr().out
    assert f'the first of {tmp_path}' in out
    assert 'on 4 x 4 tokens' in out
    table = columns(out)
    assert table[-1, 1] < 1e-5 < 1e-2 < table[0, 1]
    kernel, _, grid = first_convolution(tmp_path)
    assert (kernel.shape, grid) == ((3, 3, 16, 16), (4, 4))
    off_diagonal = kernel[:, :, ~np.eye(16, dtype=bool)]
    assert (off_diagonal == 0).all() == (mixer == 'depthwise_conv')
    with pytest.raises(ConfigError, match=r'--kernel_size=5: the run has 3'):
        report.report(str(tmp_path), 5, None)


def test_a_run_without_a_convolution(config, tmp_path):
    folder.open_run(tmp_path, config)
    with pytest.raises(ConfigError, match=r'model\.mixer=attention has no convolution'):
        report.report(str(tmp_path), None, None)


def test_it_is_the_first_layer_s_on_the_grid_asked_for(config, tmp_path, capsys):
    config.model.mixer, config.model.depth = 'conv', 2
    checkpointed(config, tmp_path)
    kernel, bias, _ = first_convolution(tmp_path)
    _, params, _ = restore_selected(config, validate(config), tmp_path)
    first = params['blocks'][0]['mixer']['conv']
    np.testing.assert_array_equal(kernel, first['kernel'])
    np.testing.assert_array_equal(bias, first['bias'])
    report.report(str(tmp_path), None, '5x6')
    assert 'on 5 x 6 tokens' in capsys.readouterr().out
