"""A run is the same on any number of devices, and may move from one number to another.

A process with eight devices of the CPU does it all, once (many_devices.py); here is what must have come of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiment.environment import ROOT
from tests.once import once
from tests.quick import QUICKLY

# Time is what little optimisation saves here; and a process that waits for the CPU is not stuck.
FLAGS = f'--xla_force_host_platform_device_count=8 --xla_cpu_collective_call_terminate_timeout_seconds=600 {QUICKLY}'
TOLERANCE = 1e-5  # of a loss, in nats


@pytest.fixture(scope='module')
def seen(tmp_path_factory):
    return once(tmp_path_factory, 'many_devices', on_many_devices)


def on_many_devices():
    environment = os.environ | {'XLA_FLAGS': FLAGS, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('many_devices.py')],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize('model', ['conv', 'gru', 'resnet'])
def test_a_batch_has_the_same_loss_on_any_number_of_devices(seen, model):
    """Dropout and crops included, and over steps: so its gradients are the same too."""
    alone, *others = (taken['losses'] for taken in seen['models'][model].values())
    assert len(set(alone)) == len(alone) == 6
    assert others
    for losses in others:
        np.testing.assert_allclose(losses, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('model', ['conv', 'gru', 'resnet'])
def test_each_device_does_its_share_of_the_work(seen, model):
    """That of the optimiser is whole on each, so it is a little more."""
    flops = {int(count): taken['flops'] for count, taken in seen['models'][model].items()}
    several = [count for count in flops if count > 1]
    assert several
    assert all(flops[count] < (1 / count + 0.2) * flops[1] for count in several)


def test_a_checkpoint_is_the_same_bits_on_any_number_of_devices(seen):
    assert seen['changed'] == []


@pytest.mark.parametrize('way', ['2 to 8', '2 to 1'])
def test_an_interrupted_run_goes_on_where_there_are_more_devices_or_fewer(seen, way):
    """Attention, in two accumulated parts of a batch; validation and test, whose batches eight devices share padded."""
    assert seen['moved']['left'] == 4
    alone, moved = seen['moved']['1'], seen['moved'][way]
    assert (
        [row['step'] for row in moved['rows']] == [row['step'] for row in alone['rows']] == [1, 2, 2, 3, 4, 4, 5, 6, 6]
    )
    for row, expected in zip(moved['rows'], alone['rows'], strict=True):
        assert row.keys() == expected.keys()
        np.testing.assert_allclose(list(row.values()), list(expected.values()), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(moved['test'], alone['test'], rtol=0, atol=TOLERANCE)


def test_images_that_are_handed_in_batch_by_batch_may_be_shared_too(seen):
    np.testing.assert_allclose(seen['streamed']['streamed'], seen['streamed']['resident'], rtol=0, atol=TOLERANCE)
    assert seen['streamed']['exchanged'] == []


@pytest.mark.parametrize('way', ['resident', 'streamed'])
def test_members_fewer_than_devices_are_spread_and_each_is_what_it_would_be_alone(seen, way):
    assert len(set(seen['together'][way])) == 3
    np.testing.assert_allclose(seen['together'][way], seen['together']['alone'], rtol=0, atol=TOLERANCE)


def test_images_that_are_handed_in_go_to_the_device_of_their_member_alone(seen):
    held = seen['together']['held']
    assert sorted(map(int, held)) == [0, 1, 2]
    assert sum(held.values()) == seen['together']['bytes']


def test_members_on_devices_of_their_own_have_nothing_to_exchange(seen):
    assert seen['divided']['training'] == seen['divided']['evaluation'] == []


def test_flops_of_members_are_counted_on_all_devices(seen):
    one, two = seen['divided']['flops']
    assert two == 2 * one > 0
