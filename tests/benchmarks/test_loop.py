import contextlib

import jax
import jax.numpy as jnp

from benchmarks import loop
from machine.cores import cores_allowed
from training.strategy import can_share, equal_shares


def test_a_row_has_every_arm_and_the_baseline_gains_nothing_over_itself():
    case = loop.Case('tiny', 8, 8, loop.SMALL | {'model.embed_dim': 16, 'model.depth': 1})
    row = loop.measure(case, (2, 4, 8), seconds=0.0, fewest=2)
    others = {loop.SINGLE, loop.DISPATCH, '2 together', '4 together', '8 together'}
    shares = equal_shares(len(cores_allowed()), 8) if can_share() else 1
    shared = {loop.SHARED.format(shares)} if shares > 1 else set()
    assert set(row['arms']) == {*others, loop.IN_PARTS, *shared}
    assert row['arms'][loop.SINGLE]['gain'] == {'median': 1.0, 'low': 1.0, 'high': 1.0}
    assert all(arm['ms'] > 0 for arm in row['arms'].values())
    assert 'tiny' in loop.to_markdown([row])


def test_on_an_accelerator_runs_alone_and_together_take_as_many_steps_a_dispatch(monkeypatch):
    case = loop.Case('tiny', 8, 8, loop.SMALL | {'model.embed_dim': 16, 'model.depth': 1})
    asked = []
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(loop, 'runner', lambda stack, config, data, *arm: asked.append(arm) or (lambda: jnp.zeros(3)))
    row = loop.measure(case, (32,), seconds=0.0, fewest=2)
    assert asked == [(1, 1), (loop.STEPS, 1), (loop.STEPS, 32)]
    assert row['base'] == loop.DISPATCH
    assert row['arms'][loop.DISPATCH]['gain'] == {'median': 1.0, 'low': 1.0, 'high': 1.0}
    assert f'{loop.DISPATCH}, ms a step' in loop.to_markdown([row])


def test_the_arms_train():
    case = loop.Case('tiny', 8, 8, loop.SMALL | {'model.embed_dim': 16, 'model.depth': 1})
    config, dataset = loop.experiment(case)
    for arm in ((1, 1), (loop.STEPS, 1), (1, 2), (1, 1, loop.IN_TURN), (1, 1, 1, 2), (loop.STEPS, 1, 2, 2)):
        with contextlib.ExitStack() as stack:
            run = loop.runner(stack, config, dataset, *arm)
            run()
            assert (run() == 2 * loop.STEPS).all()
