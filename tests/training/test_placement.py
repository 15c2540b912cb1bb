import json
import os
import subprocess
import sys

import jax
import pytest

from configs import base
from experiment.environment import ROOT
from training import placement

# Of each case: how many devices share the work, and along which axes its arrays lie on them.
EIGHT = """
import json, sys
import jax
from training import placement

def axes(sharding):
    return [axis for axis in getattr(sharding, 'spec', ())]

answer = []
for count, size, examples in json.loads(sys.argv[1]):
    where = placement.of(size, examples, only=jax.devices()[:count])
    arrays = {name: axes(getattr(where, name)) for name in ('members', 'images', 'rows', 'batch')}
    answer.append({'devices': [device.id for device in where.devices]} | arrays)
print(json.dumps(answer))
"""
# Devices, members, examples; then how many devices share them, and along which axes.
BATCH = {'rows': [None, 'batch'], 'batch': ['batch']}
MEMBERS = {'members': ['members'], 'rows': ['members']}
WHOLE = {'members': [], 'images': [], 'rows': [], 'batch': []}
CASES = {
    'a batch is shared': ((8, 1, 16), 8, BATCH),
    'members are shared': ((8, 16, 7), 8, MEMBERS),
    'some of the devices': ((2, 1, 6), 2, BATCH),
    'a batch that divides among fewer': ((8, 1, 12), 6, BATCH),
    'fewer members than devices, of a batch that would divide': ((8, 5, 16), 5, MEMBERS),
    'more members, that divide among fewer': ((8, 10, 16), 5, MEMBERS),
    'a batch that divides among none': ((8, 1, 13), 1, {}),
    'members that divide among none': ((8, 13, 16), 1, {}),
    'one device': ((1, 1, 16), 1, {}),
}


@pytest.fixture(scope='module')
def placed():
    environment = os.environ | {
        'XLA_FLAGS': '--xla_force_host_platform_device_count=8', 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT),
    }  # fmt: skip
    command = [sys.executable, '-c', EIGHT, json.dumps([case for case, *_ in CASES.values()])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize('name', CASES)
def test_work_goes_to_as_many_devices_as_it_divides_among(placed, name):
    _, used, axes = CASES[name]
    assert placed[name] == WHOLE | axes | {'devices': list(range(used))}


@pytest.mark.parametrize(('count', 'expected'), [(1, 10), (2, 10), (4, 12), (8, 16), (16, 16)])
def test_a_batch_that_may_be_padded_is_shared_by_all_devices(monkeypatch, count, expected):
    monkeypatch.setattr(placement, 'devices', lambda: jax.devices() * count)
    assert placement.shared_by_all(10) == expected


def test_placements_are_equal_where_they_place_alike():
    """They are part of the key by which compiled programs are found."""
    assert placement.of(1, 8) == placement.of(1, 8)
    assert hash(placement.of(1, 8)) == hash(placement.of(1, 8))
    assert placement.of(1, 8, only=jax.devices()[:1]) != placement.of(2, 8, only=jax.devices()[:1])


def test_each_part_of_an_accumulated_batch_must_divide():
    config = base.get_config()
    config.train.batch_size, config.train.accumulate = 16, 4
    assert placement.of_training(config) == placement.of(1, 4)
