"""Kills runs again and again, at random moments of every phase, and compares their ends with that of a run left alone.

  python -m tests.reliability.soak --kills=200

The long version of test_kill.py: half an hour on two cores. Its last line is what docs/reliability.md quotes.
"""

import collections
import concurrent.futures
import platform
import random
import sys
import tempfile
import time
from pathlib import Path

import jax
from absl import app, flags, logging

from experiment import environment
from tests.reliability.runs import SMALL, assert_same_end, finish, killed_in, start

KILLS = flags.DEFINE_integer('kills', 200, 'Kills in all.', lower_bound=1)
PER_LIFE = flags.DEFINE_integer('per_life', 8, 'Kills of one run, at most, before it is left alone.', lower_bound=1)
JOBS = flags.DEFINE_integer('jobs', 2, 'Runs at the same time.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Of the moments.')

LONGEST = {'compiling': 4.0, 'stepping': 1.0, 'saving': 0.05, 'finishing': 0.3}  # seconds into a phase


def live(workdir: Path, kills: int, chance: random.Random) -> collections.Counter[str]:
    """Kills one run `kills` times, or fewer where it came to its end, and leaves it alone then; by phase, how often."""
    killed: collections.Counter[str] = collections.Counter()
    for _ in range(kills):
        if (workdir / 'result.json').exists():
            break
        phase = chance.choice(list(LONGEST))
        killed[phase] += killed_in(phase, workdir, chance.uniform(0, LONGEST[phase]))
    code, _, err = finish(start('train.py', workdir, *SMALL))
    if code:
        raise RuntimeError(err)
    return killed


def main(argv: list[str]) -> int:
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    begun, killed, same, wrong = time.monotonic(), collections.Counter(), 0, []
    chance = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as root:
        whole = Path(root, 'whole')
        live(whole, 0, chance)
        with concurrent.futures.ThreadPoolExecutor(JOBS.value) as pool:
            while (left := KILLS.value - killed.total()) > 0:
                shares = [min(PER_LIFE.value, -(-left // JOBS.value))] * JOBS.value
                folders = [Path(tempfile.mkdtemp(dir=root)) for _ in shares]
                chances = [random.Random(chance.random()) for _ in folders]
                for workdir, count in zip(folders, pool.map(live, folders, shares, chances), strict=True):
                    killed += count
                    try:
                        assert_same_end(whole, workdir)
                        same += 1
                    except AssertionError as error:
                        wrong.append(f'{workdir.name}: {" ".join(str(error).split())[:300]}')
                print(f'{killed.total()} kills, {same} ends the same, {len(wrong)} not', file=sys.stderr, flush=True)
    print('\n'.join(wrong))
    phases_text = ', '.join(f'{count} {phase}' for phase, count in sorted(killed.items()))
    print(
        f'{killed.total()} kills ({phases_text}) of {same + len(wrong)} runs: {same} came to the same end, '
        f'bit for bit, {len(wrong)} did not; {(time.monotonic() - begun) / 60:.0f} minutes, {platform.machine()}, '
        f'python {platform.python_version()}, jax {jax.__version__}, commit {environment.git()["commit"][:7]}'
    )
    return 1 if wrong else 0


if __name__ == '__main__':
    app.run(main)
