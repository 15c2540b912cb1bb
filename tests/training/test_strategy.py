import pytest

from configs import base
from training import placement, strategy
from training.strategy import dispatches, fewest_dispatches, milestones, parts_of_a_batch, steps_per_dispatch

ALONE = placement.of(1, 128)


@pytest.mark.parametrize(('steps', 'expected'), [(1, 1), (5, 5), (16, 16), (20, 10), (32, 16), (50, 10), (17, 16)])
def test_rows_of_the_log_are_reached_in_as_few_calls_as_can_be(steps, expected):
    chosen = fewest_dispatches(steps, 16)
    calls = {count: steps // count + steps % count for count in range(1, min(steps, 16) + 1)}
    assert calls[chosen] == min(calls.values())
    assert calls[chosen] == calls[expected]


@pytest.mark.parametrize(('chosen', 'every', 'expected'), [(1, 20, 1), (7, 20, 7), (100, 20, 20), (None, 1, 1)])
def test_a_dispatch_never_goes_past_a_row(chosen, every, expected):
    config = base.get_config()
    config.train.steps_per_dispatch, config.log.every = chosen, every
    assert steps_per_dispatch(config) == expected


@pytest.mark.parametrize(('steps', 'count', 'expected'), [(10, 4, [2, 5, 8, 10]), (3, 10, [1, 2, 3]), (1, 1, [1])])
def test_milestones_are_even_and_end_at_the_end(steps, count, expected):
    assert milestones(steps, count) == expected


@pytest.mark.parametrize(
    ('chosen', 'steps', 'count', 'expected'),
    [
        (1, 100, 1, [1]),
        (10, 100, 1, [10]),
        (10, 100, 5, [10]),
        (10, 100, 3, [1, 10]),  # 33 steps to a milestone
        (7, 100, 1, [1, 7]),
        (10, 9, 1, [1]),
        (20, 100, 100, [1]),  # a milestone after every step
    ],
)
def test_a_program_is_compiled_for_every_call_that_a_run_makes_and_for_no_other(chosen, steps, count, expected):
    config = base.get_config()
    config.train.steps_per_dispatch, config.checkpoint.count = chosen, count
    assert dispatches(config, steps) == expected


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: [0, 1])


@pytest.mark.parametrize(
    ('fields', 'flops', 'steps', 'expected'),
    [
        ({}, 1e10, 10_000, 2),
        ({'train.accumulate': 1}, 1e10, 10_000, 1),
        ({'train.accumulate': 4}, 1e6, 10, 4),
        ({}, 1e10, 10, 1),  # over before the larger program is compiled
        ({}, 1e8, 10**9, 1),  # small steps
        ({'train.batch_size': 25}, 1e10, 10_000, 1),
        ({'model.mixer': 'conv'}, 1e10, 10_000, 1),
        ({'model.mixer': 'depthwise_conv'}, 1e10, 10_000, 1),
        ({'model.name': 'resnet'}, 1e10, 10_000, 1),
        ({'model.name': 'resnet', 'model.resnet_width': 16}, 1e10, 10_000, 2),
    ],
)
def test_long_runs_of_large_steps_on_several_cores_have_two_parts(two_cores, fields, flops, steps, expected):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    assert parts_of_a_batch(config, ALONE, flops, steps) == expected


def test_one_core_a_population_or_an_accelerator_have_one_part(two_cores, monkeypatch):
    config = base.get_config()
    assert parts_of_a_batch(config, ALONE, 1e10, 10_000) == 2
    assert parts_of_a_batch(config, placement.of(2, 128), 1e10, 10_000) == 1
    monkeypatch.setattr(strategy.jax, 'default_backend', lambda: 'gpu')
    assert parts_of_a_batch(config, ALONE, 1e10, 10_000) == 1
    monkeypatch.undo()
    monkeypatch.setattr(strategy, 'cores_allowed', lambda: [3])
    assert parts_of_a_batch(config, ALONE, 1e10, 10_000) == 1
