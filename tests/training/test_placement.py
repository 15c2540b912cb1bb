import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs import base
from training import placement

ROOT = Path(__file__).resolve().parents[2]

# Of each case: how many devices share the work, and along which axes its arrays lie on them.
EIGHT = """
import json, sys
import jax
from training import placement

def axes(sharding):
    return [axis for axis in getattr(sharding, 'spec', ())]

answer = []
for count, size, examples, resident in json.loads(sys.argv[1]):
    where = placement.of(size, examples, resident=resident, only=jax.devices()[:count])
    arrays = {name: axes(getattr(where, name)) for name in ('members', 'images', 'rows', 'batch')}
    answer.append({'devices': [device.id for device in where.devices]} | arrays)
print(json.dumps(answer))
"""
# Devices, members, examples, resident images; then what comes of it.
WHOLE = {'members': [], 'images': [], 'rows': [], 'batch': []}
CASES = {
    'a batch is shared': ((8, 1, 16, False), {'images': ['batch'], 'rows': [None, 'batch'], 'batch': ['batch']}),
    'all images go everywhere': ((8, 1, 16, True), {'rows': [None, 'batch'], 'batch': ['batch']}),
    'members are shared': ((8, 16, 7, False), {'members': ['members'], 'rows': ['members']}),
    'some of the devices': ((2, 1, 6, True), {'rows': [None, 'batch'], 'batch': ['batch']}),
    'a batch that does not divide': ((8, 1, 12, False), None),
    'members that do not divide, of a batch that would': ((8, 3, 16, False), None),
    'one device': ((1, 1, 16, False), None),
}


@pytest.fixture(scope='module')
def placed():
    environment = os.environ | {
        'XLA_FLAGS': '--xla_force_host_platform_device_count=8', 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT),
    }  # fmt: skip
    command = [sys.executable, '-c', EIGHT, json.dumps([case for case, _ in CASES.values()])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize('name', CASES)
def test_what_divides_is_spread_and_the_rest_stays_on_one_device(placed, name):
    (devices, *_), axes = CASES[name]
    used = 1 if axes is None else devices
    assert placed[name] == WHOLE | (axes or {}) | {'devices': list(range(used))}


def test_placements_are_equal_where_they_place_alike():
    """They are part of the key by which compiled programs are found."""
    assert placement.of(1, 8) == placement.of(1, 8)
    assert hash(placement.of(1, 8)) == hash(placement.of(1, 8))
    assert placement.of(1, 8, only=jax.devices()[:1]) != placement.of(2, 8, only=jax.devices()[:1])


def test_each_part_of_an_accumulated_batch_must_divide():
    config = base.get_config()
    config.train.batch_size, config.train.accumulate = 16, 4
    assert placement.of_training(config, resident=False) == placement.of(1, 4)
