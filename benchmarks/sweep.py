"""A whole sweep by sweep.py, against the same runs launched one by one as processes of train.py; start to end.

python -m benchmarks.sweep [--sweep=configs/demo.py] [--runs=9]

Prints the section of RESULTS.md. All of configs/demo.py takes some twenty minutes on two cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import flags

import benchmarks
from benchmarks import options
from experiment import command
from experiment.environment import ROOT
from experiment.sweeping import sweeps
from experiment.sweeping.sweep_file import load_sweep

SWEEP = flags.DEFINE_string('sweep', 'configs/demo.py', 'A config file with sweep(), and after a colon its variant.')
RUNS = flags.DEFINE_integer('runs', None, 'Runs to take, in whole arms; left out: all.', lower_bound=1)
flags.declare_key_flag('json')

AT_ONCE, ONE_BY_ONE = 'sweep.py', 'train.py, run by run'
COLD, WARM = 'cold', 'warm'
# Forth and back, so that a machine that slows down favours neither arm.
ORDER = ((AT_ONCE, COLD), (ONE_BY_ONE, COLD), (ONE_BY_ONE, WARM), (AT_ONCE, WARM))

INTRODUCTION = """## A whole sweep

`python -m benchmarks.sweep{arguments}`

{runs} runs of {sweep}: `sweep.py` with its defaults, and the same runs one after the other as processes of `train.py`,
which is what most users would do without it (as many at a time as there are cores, each on one, would gain a part of
what the sweep does). Wall-clock time from the start of the first process to the end of the last, imports, compilation,
training, validation, checkpoints and tests included, and in `sweep.py`'s the table. Each arm has a cache of compiled
programs of its own: empty at first (cold), then as the cold arm left it (warm). Order: sweep, runs, runs, sweep.
"""

CONFIG = """import importlib.util

spec = importlib.util.spec_from_file_location('whole', {path!r})
whole = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole)
get_config = whole.get_config


def sweep():
    return {rows!r}
"""


def main() -> None:
    options.make_folder_of_json()
    path, _, variant = SWEEP.value.partition(':')
    rows, _ = load_sweep(path, variant)
    rows = whole_arms(rows, RUNS.value or len(rows))
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(SWEEP.value, rows, Path(scratch))
    machine = benchmarks.machine()  # now: on a GPU it takes memory that the runs need
    given = {'sweep': SWEEP, 'runs': RUNS}
    arguments = ''.join(f' --{name}={flag.value}' for name, flag in given.items() if flag.value != flag.default)
    print(INTRODUCTION.format(arguments=arguments, runs=len(rows), sweep=SWEEP.value))
    print(f'{benchmarks.describe(machine)}\n\n{to_markdown(measured)}')
    options.write({'machine': machine, 'sweep': SWEEP.value, **measured})


def whole_arms(rows: Sequence[dict[str, Any]], at_most: int) -> list[dict[str, Any]]:
    """Rows of sweep() in whole arms, spread over all of them, and `at_most` of them; at least one arm."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        row = {name: value for name, value in row.items() if name != 'against'}  # an arm that may be left out
        others = {name: value for name, value in row.items() if name != 'seed'}
        arms.setdefault(json.dumps(others, sort_keys=True, default=str), []).append(row)
    largest = max(map(len, arms.values()))
    count = min(len(arms), max(1, at_most // largest))
    chosen = {round(index) for index in np.linspace(0, len(arms) - 1, count)}
    return [row for index, arm in enumerate(arms.values()) if index in chosen for row in arm]


def measure(sweep: str, rows: Sequence[dict[str, Any]], scratch: Path) -> dict[str, Any]:
    """Seconds of both ways with a cold and a warm cache, their ratios, and how far their results are apart."""
    seconds: dict[str, dict[str, float]] = {COLD: {}, WARM: {}}
    outcomes = []
    for way, cache in ORDER:
        workdir, caches = scratch / f'{way}-{cache}', scratch / f'{way}-caches'
        commands = list((sweep_command if way == AT_ONCE else run_commands)(sweep, rows, workdir, scratch))
        start = time.perf_counter()
        for number, arguments in enumerate(commands, 1):
            print(f'{way}, {cache} cache: {number} of {len(commands)} ...', file=sys.stderr, flush=True)
            launch(arguments, caches)
        seconds[cache][way] = time.perf_counter() - start
        outcomes.append(accuracies(workdir))
    apart = [abs(one[run] - other[run]) for one in outcomes for other in outcomes for run in outcomes[0]]
    return {
        'runs': len(rows),
        'seconds': seconds,
        'ratio': {cache: taken[ONE_BY_ONE] / taken[AT_ONCE] for cache, taken in seconds.items()},
        'largest_difference_in_test_accuracy': max(apart),
        'mean_test_accuracy': [float(np.mean(list(one.values()))) for one in outcomes],
    }


def sweep_command(sweep: str, rows: Sequence[dict[str, Any]], workdir: Path, scratch: Path) -> Iterable[list[str]]:
    """The command that trains all of `rows`."""
    path, _, variant = sweep.partition(':')
    config = scratch / 'rows.py'
    config.write_text(CONFIG.format(path=str(Path(path).resolve()), rows=list(rows)))
    yield ['sweep.py', f'--config={config}:{variant}' if variant else f'--config={config}', f'--workdir={workdir}']


def run_commands(sweep: str, rows: Sequence[dict[str, Any]], workdir: Path, scratch: Path) -> Iterable[list[str]]:
    """A command for each of `rows`."""
    for number, row in enumerate(rows):
        fields = {name: value for name, value in row.items() if name not in sweeps.NO_FIELDS}
        overrides = [f'--config.{name}={value}' for name, value in fields.items()]
        yield ['train.py', f'--config={sweep}', f'--workdir={workdir / str(number)}', *overrides]


def launch(arguments: Sequence[str], caches: Path) -> None:
    """Runs a command of the repository with a cache folder of its own."""
    environment = {name: value for name, value in os.environ.items() if 'COMPILATION_CACHE' not in name}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment | {'XDG_CACHE_HOME': str(caches)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f'{" ".join(arguments)} ended with status {done.returncode}:\n{done.stderr}')


def accuracies(workdir: Path) -> dict[str, float]:
    """Test accuracy of every run in a folder, by its config."""
    results = [json.loads(path.read_text()) for path in sorted(workdir.glob('*/result.json'))]
    return {json.dumps(result['config'], sort_keys=True): result['test']['accuracy'] for result in results}


def to_markdown(measured: dict[str, Any]) -> str:
    """The times as a table, and under it how near the results are."""
    table = pd.DataFrame(
        [
            {'cache': cache}
            | {f'{way}, s': f'{seconds:,.0f}' for way, seconds in taken.items()}
            | {'ratio': f'{measured["ratio"][cache]:.2f}'}
            for cache, taken in measured['seconds'].items()
        ]
    )
    means = ', '.join(f'{mean:.2%}' for mean in measured['mean_test_accuracy'])
    return (
        f'{benchmarks.markdown(table[["cache", f"{AT_ONCE}, s", f"{ONE_BY_ONE}, s", "ratio"]], texts=1)}\n\n'
        f'Mean test accuracy of the four: {means}; of one run, they differ by '
        f'{measured["largest_difference_in_test_accuracy"]:.2%} at most.'
    )


if __name__ == '__main__':
    command.run(main)
