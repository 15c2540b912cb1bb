"""Commands of the repository, typed as a user does, and config files of a user's own."""

import os
import subprocess
import sys

from experiment.environment import ROOT

SMALL = [
    '--config.model.embed_dim=16',
    '--config.model.depth=1',
    '--config.train.steps=6',
    '--config.checkpoint.count=2',
]

FILE = """
from configs import digits


def get_config():
    config = digits.get_config()
    {line}
    return config
"""

SWEEP = """
from configs import digits

FIGURE = {{'x': 'mixer', 'scale': 'category'}}


def get_config(variant=''):
    config = digits.get_config('tiny')
    config.model.embed_dim, config.model.depth = 16, 1
    config.train.steps, config.checkpoint.count = {steps}, 1
    return config


def sweep():
    return [
        {{'arm': mixer, 'against': against, 'curve': 'digits', 'x': mixer, 'model.mixer': mixer, 'seed': seed}}
        for mixer, against in (('attention', None), ('conv', 'attention'))
        for seed in range(2)
    ]
"""


def command(*arguments, cwd=ROOT):
    """Runs a command of the repository and returns its exit status, stdout and stderr."""
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'COLUMNS': '160'}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout, done.stderr
