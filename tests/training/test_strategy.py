import itertools
import math

import pytest

from configs import base
from training import placement, strategy
from training.plan import milestones
from training.strategy import (
    evenly,
    largest_population,
    longest_dispatch,
    parts_of_a_share,
    shares_of_a_batch,
    steps_per_dispatch,
    wholly,
)

ALONE = placement.of(1, 128)
IMAGE = (28, 28, 1)


@pytest.mark.parametrize(('steps', 'expected'), [(1, 1), (5, 5), (16, 16), (17, 9), (20, 10), (32, 16), (50, 13)])
def test_rows_of_the_log_are_reached_in_as_few_calls_as_can_be(steps, expected):
    chosen = evenly(steps, 16)
    assert chosen == expected <= 16
    assert math.ceil(steps / chosen) == math.ceil(steps / 16)


@pytest.mark.parametrize(
    ('steps', 'expected'), [(1, 1), (5, 5), (16, 16), (17, 9), (20, 10), (32, 16), (50, 10), (34, 12)]
)
def test_on_an_accelerator_no_call_is_shorter_where_few_more_will_do(steps, expected):
    chosen = wholly(steps, 16)
    assert chosen == expected <= 16
    assert steps % chosen == 0 or chosen == evenly(steps, 16)


@pytest.mark.parametrize(
    ('backend', 'fields', 'expected'),
    [
        ('cpu', {}, 1),
        ('gpu', {}, 2**30),
        ('gpu', {'model.mixer': 'depthwise_conv'}, 2**30),
        ('gpu', {'model.mixer': 'conv'}, 1),
        ('gpu', {'model.name': 'resnet'}, 1),
    ],
)
def test_populations_are_for_accelerators_and_for_what_does_not_convolve(backend, fields, expected, monkeypatch):
    monkeypatch.setattr(strategy.jax, 'default_backend', lambda: backend)
    monkeypatch.setattr(strategy.jax, 'device_count', lambda: 1)
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    assert largest_population(config) == expected


@pytest.mark.parametrize(
    ('fields', 'steps', 'expected'),
    [
        ({'train.steps_per_dispatch': 1}, 100, 1),
        ({'train.steps_per_dispatch': 7}, 100, 7),
        ({'train.steps_per_dispatch': 10**9}, 100, 20),
        ({'train.steps_per_dispatch': 10**9, 'log.every': 10**9}, 100, 50),
        ({'checkpoint.count': 5, 'log.every': 10**9}, 33, 7),
        ({'checkpoint.count': 10**9}, 100, 1),
        ({'log.every': 1}, 100, 1),
        ({}, 100, 10),
        ({}, 3, 2),
        ({'debug.check_numerics': True, 'train.steps_per_dispatch': 4}, 100, 1),
    ],
)
def test_a_dispatch_never_goes_past_a_row_or_a_milestone(fields, steps, expected):
    config = base.get_config()
    config.log.every, config.checkpoint.count = 20, 2
    config.update_from_flattened_dict(fields)
    chosen = longest_dispatch(config, steps)
    assert chosen == expected
    stops = [0, *milestones(steps, config.checkpoint.count)]
    assert chosen <= min(config.log.every, max(stop - start for start, stop in itertools.pairwise(stops)))


@pytest.mark.parametrize(
    ('fields', 'flops', 'expected'),
    [
        ({}, 1e8, 10),
        ({}, 1e11, 1),  # a signal is to be heard within the second
        ({'model.mixer': 'depthwise_conv'}, 1e8, 10),
        ({'model.mixer': 'conv'}, 1e8, 1),
        ({'model.name': 'resnet'}, 1e8, 1),
        ({'train.steps_per_dispatch': 10, 'model.name': 'resnet'}, 1e11, 10),
    ],
)
def test_on_the_cpu_small_steps_without_convolutions_are_taken_several_at_a_time(fields, flops, expected):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    assert steps_per_dispatch(config, 10, flops) == expected


@pytest.mark.parametrize(
    ('fields', 'brought', 'expected'),
    [
        ({}, 0, 16),
        ({}, 1 << 20, 16),
        ({}, 1024 * 224 * 224 * 3, 1),  # a step of ImageNet's
        ({}, 64 << 20, 4),
        ({}, 60 << 20, 4),
        ({'train.steps_per_dispatch': 16}, 1 << 30, 16),  # whoever asks for it has the memory
    ],
)
def test_a_call_brings_no_more_images_along_than_there_is_room_for(fields, brought, expected):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    assert steps_per_dispatch(config, 16, 1e8, brought) == expected


@pytest.mark.parametrize(('backend', 'expected'), [('cpu', 13), ('gpu', 10)])
def test_on_an_accelerator_calls_are_of_equal_length_however_many_images_they_bring(monkeypatch, backend, expected):
    """Of fifty steps, from row to row of the log, with room for sixteen; where the room is less, too."""
    monkeypatch.setattr(strategy.jax, 'default_backend', lambda: backend)
    config = base.get_config()
    config.log.every, config.checkpoint.count = 50, 1
    assert longest_dispatch(config, 100) == expected
    assert steps_per_dispatch(config, 50, 1e8, (256 << 20) // 16) == expected


def test_of_what_convolves_as_many_runs_train_together_as_there_are_devices(monkeypatch):
    monkeypatch.setattr(strategy.jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(strategy.jax, 'device_count', lambda: 4)
    config = base.get_config()
    config.model.mixer = 'conv'
    assert largest_population(config) == 4


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: [0, 1])


@pytest.mark.parametrize(
    ('fields', 'flops', 'steps', 'expected'),
    [
        ({}, 1e10, 10_000, 2),
        ({}, 1e10, 10, 1),  # over before the processes have started
        ({}, 1.6e9, 10**4, 2),
        ({}, 1.5e9, 10**9, 1),  # small shares
        ({}, 1e6, 10**9, 1),
        ({'train.batch_size': 25}, 1e10, 10_000, 1),
        ({'model.mixer': 'gru'}, 1e10, 10_000, 2),
        ({'model.mixer': 'depthwise_conv'}, 1e10, 10_000, 2),
        ({'model.mixer': 'conv'}, 1e10, 10_000, 1),
        ({'model.name': 'resnet'}, 1e10, 10_000, 1),
        ({'model.mixer': 'conv', 'train.shares': 2}, 1e10, 10_000, 2),
        ({'train.accumulate': 1}, 1e10, 10_000, 1),  # by this process, to save memory
        ({'train.accumulate': 4, 'train.shares': 2}, 1e10, 10_000, 2),
        ({'train.shares': 1}, 1e10, 10_000, 1),
        ({'train.shares': 2}, 1e6, 10, 2),
        ({'train.shares': 8}, 1e10, 10_000, 2),  # as many as there are cores
    ],
)
def test_long_runs_of_large_steps_have_a_share_for_each_core(two_cores, fields, flops, steps, expected):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    assert shares_of_a_batch(config, ALONE, flops, steps) == expected


@pytest.mark.parametrize(
    ('cores', 'batch', 'flops', 'expected'),
    [
        (3, 128, 1e11, 1),  # of two shares one would have a core, the other two
        (3, 90, 1e11, 3),
        (4, 128, 1e11, 4),
        (6, 128, 1e11, 2),
        (6, 90, 1e11, 6),
        (64, 128, 1e11, 8),
        (64, 128, 2.5e9, 2),
    ],
)
def test_shares_are_equal_and_large_and_not_too_many(monkeypatch, cores, batch, flops, expected):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: list(range(cores)))
    config = base.get_config()
    config.train.batch_size = batch
    assert shares_of_a_batch(config, ALONE, flops, 10_000) == expected


def test_of_the_shares_that_are_asked_for_there_are_as_many_as_cores_and_parts_allow(monkeypatch):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: [0, 1, 2])
    config = base.get_config()
    config.train.batch_size, config.train.shares = 24, 4
    assert shares_of_a_batch(config, ALONE, 1e6, 10) == 3
    config.train.accumulate = 6
    assert shares_of_a_batch(config, ALONE, 1e6, 10) == 2


@pytest.mark.parametrize('asked', [None, 2])
def test_a_population_or_an_accelerator_or_several_devices_share_no_batch_among_processes(
    two_cores, monkeypatch, asked
):
    config = base.get_config()
    config.train.shares = asked
    assert shares_of_a_batch(config, ALONE, 1e10, 10_000) == 2
    assert shares_of_a_batch(config, placement.of(2, 128), 1e10, 10_000) == 1
    with monkeypatch.context() as patch:
        patch.setattr(strategy.jax, 'default_backend', lambda: 'gpu')
        assert shares_of_a_batch(config, ALONE, 1e10, 10_000) == 1
    monkeypatch.setattr(placement.Placement, 'devices', 2 * ALONE.devices)
    assert shares_of_a_batch(config, ALONE, 1e10, 10_000) == 1


@pytest.mark.parametrize('missing', ['sched_setaffinity', 'memfd_create'])
def test_where_processes_cannot_have_their_cores_and_memory_there_are_no_shares(two_cores, monkeypatch, missing):
    monkeypatch.delattr(strategy.os, missing)
    assert shares_of_a_batch(base.get_config(), ALONE, 1e10, 10_000) == 1


def test_where_the_kernel_refuses_memory_without_a_file_there_are_no_shares(two_cores, monkeypatch):
    def refuse(name):
        raise PermissionError

    monkeypatch.setattr(strategy.os, 'memfd_create', refuse)
    assert shares_of_a_batch(base.get_config(), ALONE, 1e10, 10_000) == 1


@pytest.mark.parametrize(('gibibytes', 'expected', 'of_two'), [(0.9, 1, 1), (1, 2, 1), (3.9, 4, 2), (4, 8, 4)])
def test_there_are_no_more_shares_than_memory_holds_unless_they_are_asked_for(monkeypatch, gibibytes, expected, of_two):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: list(range(8)))
    monkeypatch.setattr(strategy.limits, 'memory', lambda: int(gibibytes * 2**30))
    config = base.get_config()
    assert shares_of_a_batch(config, ALONE, 1e11, 10_000) == expected
    assert shares_of_a_batch(config, ALONE, 1e11, 10_000, processes=2) == of_two
    config.train.shares = 4
    assert shares_of_a_batch(config, ALONE, 1e11, 10_000) == 4


@pytest.mark.parametrize(
    ('fields', 'flops', 'steps', 'expected'),
    [
        ({}, 1e10, 10_000, 4),
        ({'model.mixer': 'gru'}, 1e10, 10_000, 4),
        ({}, 1e10, 10, 1),
        ({}, 1.9e9, 10**9, 1),
        ({'train.batch_size': 126}, 1e10, 10_000, 1),
        ({'model.embed_dim': 1024}, 1e10, 10_000, 1),  # as much work to add up its gradients as the caches save
        ({'model.mixer': 'conv'}, 1e10, 10_000, 1),
        ({'model.name': 'resnet', 'model.resnet_width': 16}, 1e10, 10_000, 1),
        ({'train.accumulate': 2}, 1e10, 10_000, 2),
    ],
)
def test_one_core_takes_parts_one_after_the_other(monkeypatch, fields, flops, steps, expected):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: [3])
    config = base.get_config()
    config.model.patch_size = 4
    config.update_from_flattened_dict(fields)
    assert parts_of_a_share(config, ALONE, IMAGE, flops, steps) == expected


@pytest.mark.parametrize(
    ('fields', 'shares', 'expected'),
    [
        ({}, 2, 4),  # a core each
        ({}, 1, 1),  # both cores
        ({'train.batch_size': 130}, 2, 1),
        ({'train.batch_size': 132}, 2, 1),  # shares of 66
        ({'model.embed_dim': 256}, 2, 1),  # 3,136 tokens a share
        ({'model.mixer': 'conv'}, 2, 1),
        ({'train.accumulate': 2}, 2, 2),
    ],
)
def test_a_large_share_of_one_core_is_taken_in_parts(two_cores, fields, shares, expected):
    config = base.get_config()
    config.model.patch_size = 4
    config.update_from_flattened_dict(fields)
    assert parts_of_a_share(config, ALONE, IMAGE, 1e10, 10_000, shares) == expected
    if config.train.accumulate is None:
        assert parts_of_a_share(config, ALONE, IMAGE, 3.9e9, 10_000, shares) == 1


@pytest.mark.parametrize(
    ('backend', 'mixer', 'expected'),
    [('cpu', 'attention', False), ('cpu', 'conv', True), ('gpu', 'attention', False), ('gpu', 'conv', False)],
)
def test_parts_are_in_a_loop_for_memory_but_where_that_is_slow(monkeypatch, backend, mixer, expected):
    monkeypatch.setattr(strategy.jax, 'default_backend', lambda: backend)
    config = base.get_config()
    config.model.mixer, config.train.accumulate = mixer, 2
    assert strategy.parts_at_once(config) is expected
