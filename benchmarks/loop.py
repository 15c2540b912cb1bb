"""How to train many small runs: step by step, several steps a dispatch, or several runs as one population.

python -m benchmarks.loop [--cores=1]
python -m benchmarks.loop --case='attention, 49 tokens' --members=8 --members=32    # what an accelerator gains

What training/strategy.py decides by; on a CPU also whether processes share a batch, one for each core, and in how many
parts it is taken. --cores=1 is what each worker process of sweep.py has there.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from absl import flags
from ml_collections import ConfigDict

import benchmarks
from benchmarks import options, timing
from configs import base
from configs.errors import ConfigError, nearest
from data.spec import Dataset
from experiment import command
from machine.cores import cores_allowed, keep_to
from training import population
from training.optimiser import Rates
from training.programs import compile_programs
from training.strategy import IN_TURN, can_share, equal_shares

CORES = flags.DEFINE_integer('cores', None, 'Cores to use; left out: all.', lower_bound=1)
CASE = flags.DEFINE_string('case', None, 'Which model, by its name in the table; left out: all.')
MEMBERS = flags.DEFINE_multi_integer('members', [2, 4, 8], 'Runs of a population; several make an arm each.')
flags.adopt_module_key_flags(options)

STEPS = 16  # of the arm with several steps a dispatch, and of one timing of the others
SINGLE, TOGETHER = 'one by one', '{} together'
DISPATCH = f'{STEPS} steps a dispatch'
IN_PARTS, SHARED = f'in {IN_TURN} parts', '{} processes'


class Case(NamedTuple):
    """A model and its images; the rest is configs/base.py's."""

    name: str
    side: int  # pixels
    batch: int
    fields: dict[str, Any]


SMALL = {'model.patch_size': 2, 'model.embed_dim': 48, 'model.depth': 3, 'model.mlp_ratio': 2.0}
MEDIUM = {'model.patch_size': 4, 'model.embed_dim': 64, 'model.depth': 4}
CASES = [
    *(
        Case(f'{label}, 16 tokens', 8, 64, SMALL | fields)
        for label, fields in {
            'attention': {},
            'attention, rnn': {'model.positions.name': 'rnn'},
            'attention, conditional': {'model.positions.name': 'conditional'},
            'conv': {'model.mixer': 'conv'},
            'depthwise_conv': {'model.mixer': 'depthwise_conv'},
            'gru': {'model.mixer': 'gru'},
        }.items()
    ),
    Case('attention, 16 tokens of 7 x 7', 28, 128, MEDIUM | {'model.patch_size': 7}),
    Case('attention, 49 tokens', 28, 128, MEDIUM),
    Case('depthwise_conv, 49 tokens', 28, 128, MEDIUM | {'model.mixer': 'depthwise_conv'}),
    Case('gru, 49 tokens', 28, 128, MEDIUM | {'model.mixer': 'gru'}),
    Case('conv, 49 tokens', 28, 128, MEDIUM | {'model.mixer': 'conv'}),
    Case('resnet, width 16, 8 x 8', 8, 64, {'model.name': 'resnet', 'model.resnet_width': 16}),
]


def main() -> None:
    cores = cores_allowed()
    if CORES.value:
        keep_to(cores[: CORES.value])  # before the backend starts, which counts them
    cases = [
        case._replace(batch=options.BATCH.value or case.batch) for case in CASES if CASE.value in (None, case.name)
    ]
    if not cases:
        raise ConfigError(f'--case={CASE.value!r}: {nearest(CASE.value, [case.name for case in CASES])}')
    options.make_folder_of_json()
    machine = benchmarks.machine()
    print(f'{benchmarks.describe(machine)}\n')
    rows = []
    for case in cases:
        print(f'measuring {case.name} ...', file=sys.stderr, flush=True)
        rows.append(measure(case, MEMBERS.value, seconds=options.seconds(8.0), fewest=3))
    print(to_markdown(rows), flush=True)
    options.write({'machine': machine, 'rows': rows})


def measure(case: Case, members: Sequence[int], *, seconds: float, fewest: int) -> dict[str, Any]:
    """A row: milliseconds of one run's step by each arm, and how many times as fast as the base that is.

    The base is what a run by itself would do: on a CPU step by step, on an accelerator several steps a dispatch, which
    populations take there too. Shares and parts of a batch are for a CPU's cores and caches.
    """
    config, dataset = experiment(case)
    on_cpu = jax.default_backend() == 'cpu'
    sizes = {TOGETHER.format(size): size for size in members}
    with contextlib.ExitStack() as stack:
        arm = functools.partial(runner, stack, config, dataset)
        arms = {SINGLE: arm(1, 1), DISPATCH: arm(STEPS, 1)}
        arms |= {name: arm(1 if on_cpu else STEPS, size) for name, size in sizes.items()}
        if on_cpu:
            arms[IN_PARTS] = arm(1, 1, IN_TURN)
            shares = equal_shares(len(cores_allowed()), config.train.batch_size) if can_share() else 1
            if shares > 1:
                arms[SHARED.format(shares)] = arm(1, 1, 1, shares)
        times = timing.time_in_turns(arms, seconds=seconds, fewest=fewest)
    a_step = {name: taken / STEPS / sizes.get(name, 1) for name, taken in times.items()}
    base = SINGLE if on_cpu else DISPATCH
    return {
        'model': case.name,
        'batch': case.batch,
        'rounds': len(times[SINGLE]),
        'base': base,
        'arms': {
            name: {'ms': float(np.median(taken)), 'gain': timing.ratio(a_step[base], taken)._asdict()}
            for name, taken in a_step.items()
        },
    }


def experiment(case: Case) -> tuple[ConfigDict, Dataset]:
    """The config, and random images for it."""
    config = base.get_config()
    config.train.batch_size = case.batch
    config.update_from_flattened_dict(case.fields)
    return config, benchmarks.random_dataset((case.side, case.side, 1), 10 * case.batch)


def runner(
    stack: contextlib.ExitStack,
    config: ConfigDict,
    dataset: Dataset,
    dispatch: int,
    size: int,
    parts: int = 1,
    shares: int = 1,
) -> Callable[[], Any]:
    """STEPS training steps of `size` members, each call from where the last one ended, until `stack` is closed."""
    config = config.copy_and_resolve_references()
    config.train.steps_per_dispatch, config.train.accumulate, config.train.shares = dispatch, parts, shares
    program = compile_programs(config, dataset, 1000, size)
    stack.enter_context(program.team)
    keys = population.together([jax.random.key(seed) for seed in range(size)])
    state = program.initial_state(keys)
    rates = population.together([Rates.of(config.train)] * size)
    keys, rates = jax.device_put((keys, rates), program.where.members)
    images, labels = jax.device_put(tuple(dataset.train), program.where.images)
    members = () if size == 1 else (size,)
    count = program.dispatch
    shape = (*members, count, config.train.batch_size)
    rows = np.random.default_rng(0).integers(0, len(labels), shape).astype(np.int32)

    def run() -> Any:
        nonlocal state
        for _ in range(STEPS // count):
            state = program.train_steps(state, keys, rates, images, labels, rows, np.int32(count))
        return state.step

    return run


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""

    table = pd.DataFrame(
        [
            {'model': row['model'], 'batch': row['batch']}
            | {f'{row["base"]}, ms a step': f'{row["arms"][row["base"]]["ms"]:.2f}'}
            | {name: timing.in_words(row['arms'][name]['gain']) for name in row['arms'] if name != row['base']}
            for row in rows
        ]
    )
    return benchmarks.markdown(table, texts=1)


if __name__ == '__main__':
    command.run(main)
