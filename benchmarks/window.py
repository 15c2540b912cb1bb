"""What a window saves: windowed attention against a dense mask, and against full attention; forward and backward.

python -m benchmarks.window [--tokens=4096] [--batch=8]

Prints the section of RESULTS.md. On two idle cores it takes some ten minutes, and up to 60% of the memory.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import flags
from flax import nnx

import benchmarks
from benchmarks import options, timing
from configs.errors import ConfigError
from experiment import command
from models import windows
from models.accounting import peak_memory_bytes
from models.attention import attend, dot_product_attention
from models.patches import grid_coordinates
from models.positions import NoPositions, Shape

QUICK = flags.DEFINE_bool('quick', False, 'A few small rows and rounds, to see that it runs.')
TOKENS = flags.DEFINE_multi_integer('tokens', None, 'Only the rows of so many tokens; left out: all.', lower_bound=1)
flags.adopt_module_key_flags(options)

HEADS, HEAD_DIM = 4, 16
WINDOWED, MASKED, FULL = 'windowed', 'dense mask', 'full'
FEW = 256  # tokens
LARGEST_SHARE = 0.6  # of the memory available that a program may take by XLA's plan
MIB, GIB = 2**20, 2**30


class Case(NamedTuple):
    """What is attended to. A sequence is a grid of one row."""

    grid: tuple[int, int]
    window: int
    batch: int


TABLES = {
    'A sequence, w = 128, one at a time': [Case((1, 2**power), 128, 1) for power in range(8, 15)],
    'Few tokens, in batches as for training': [
        *(Case((side, side), 3, 128) for side in (4, 7)),
        Case((7, 7), 5, 128),
        *(Case((side, side), window, 32) for side in (14, 16) for window in (3, 5, 7)),
        *(Case((1, tokens), 7, 128) for tokens in (16, 49, 64)),
        Case((1, 64), 3, 128),
        Case((1, 100), 7, 64),
        *(Case((1, tokens), window, 32) for tokens in (196, 256) for window in (7, 31, 127)),
    ],
    'Grids': [Case((side, side), window, 1) for side in (16, 32, 64) for window in (3, 7)],
}
QUICK_TABLES = {'Quick': [Case((4, 4), 3, 8), Case((1, 512), 32, 1)]}
INTRODUCTION = f"""## Windowed attention

`python -m benchmarks.window`

Attention whose tokens see a window (`model.window`), block by block where models/windows.py plans it, against
softmax(q k^T + mask) over all tokens with the mask of the same window, made inside the program, and against full
attention. All three are models/attention.py with the same softmax; {HEADS} heads of {HEAD_DIM}, float32, forward and
backward. Arms run in turn, round by round. Times are medians over the rounds; a ratio is the median of the two arms'
times in the same round, with the quartiles behind it. Memory is the peak of XLA's plan, arguments included; an arm
that plans more than {LARGEST_SHARE:.0%} of the memory available is not run.
"""


def main() -> None:
    tables = chosen(QUICK_TABLES if QUICK.value else TABLES, TOKENS.value, options.BATCH.value)
    options.make_folder_of_json()
    machine = benchmarks.machine()
    print(f'{INTRODUCTION}\n{benchmarks.describe(machine)}\n')
    rows = []
    for title, cases in tables.items():
        measured = []
        for case in cases:
            print(f'measuring {case} ...', file=sys.stderr, flush=True)
            measured.append(measure(case, seconds=options.seconds(0.2 if QUICK.value else 6.0), fewest=3))
            print(to_markdown(measured[-1:]), file=sys.stderr, flush=True)
        print(f'### {title}\n\n{to_markdown(measured)}\n', flush=True)
        rows += measured
    print(summary(rows))
    options.write({'machine': machine, 'rows': rows})


def chosen(tables: dict[str, list[Case]], tokens: Sequence[int] | None, batch: int | None) -> dict[str, list[Case]]:
    """The rows of so many tokens, with another batch where one is given. Raises ConfigError where none is left."""
    sizes = sorted({math.prod(case.grid) for cases in tables.values() for case in cases})
    for count in tokens or ():
        if count not in sizes:
            raise ConfigError(f'--tokens={count}: {", ".join(map(str, sizes))} would do')
    kept = {
        title: [
            case._replace(batch=batch or case.batch) for case in cases if not tokens or math.prod(case.grid) in tokens
        ]
        for title, cases in tables.items()
    }
    return {title: cases for title, cases in kept.items() if cases}


def measure(case: Case, *, seconds: float, fewest: int) -> dict[str, Any]:
    """A row: of each arm milliseconds (None where it would not fit in memory) and bytes; and ratios to windowed."""
    limit = LARGEST_SHARE * benchmarks.available_bytes()
    compiled = compile_arms(case)
    memory = {name: peak_memory_bytes(program) for name, program in compiled.items()}
    shape = (HEADS, case.batch, math.prod(case.grid), HEAD_DIM)
    arrays = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 4)]
    fitting = {name: lambda p=program: p(*arrays) for name, program in compiled.items() if memory[name] <= limit}
    times = timing.time_in_turns(fitting, seconds=seconds, fewest=fewest)
    tiling = windows.plan(case.grid, case.window)
    arms = {}
    for name, size in memory.items():
        taken = times.get(name)
        arms[name] = {'ms': None if taken is None else float(np.median(taken)), 'bytes': size}
        if taken is not None and WINDOWED in times:
            arms[name]['ratio'] = timing.ratio(taken, times[WINDOWED])._asdict()
    return {
        **case._asdict(),
        'block': tiling.block if tiling else None,
        'rounds': min(map(len, times.values()), default=0),
        'arms': arms,
    }


def compile_arms(case: Case) -> dict[str, Any]:
    """Each arm's program (q, k, v, direction) -> gradients with respect to q, k and v."""

    coordinates = grid_coordinates(case.grid)
    positions = NoPositions(Shape(HEADS * HEAD_DIM, HEADS, case.grid), rngs=nnx.Rngs(0))

    def masked(q, k, v):
        # Made by the program: of many tokens it would be a huge constant.
        rows, columns = jnp.divmod(jnp.arange(math.prod(case.grid)), case.grid[1])
        near = [abs(places[:, None] - places) <= case.window // 2 for places in (rows, columns)]
        return dot_product_attention(q, k, v, mask=near[0] & near[1])[0]

    ways = {
        WINDOWED: lambda q, k, v: attend(q, k, v, positions, coordinates, case.window)[0],
        MASKED: masked,
        FULL: lambda q, k, v: attend(q, k, v, positions, coordinates)[0],
    }

    def program(way):
        def loss(q, k, v, direction):
            return jnp.vdot(way(q, k, v), direction)

        array = jax.ShapeDtypeStruct((HEADS, case.batch, math.prod(case.grid), HEAD_DIM), jnp.float32)
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*[array] * 4).compile()

    return {name: program(way) for name, way in ways.items()}


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""

    def time(arm: dict[str, Any]) -> str:
        return f'needs {arm["bytes"] / GIB:.1f} GiB' if arm['ms'] is None else f'{arm["ms"]:,.2f}'

    def ratio(arm: dict[str, Any]) -> str:
        return timing.in_words(arm['ratio']) if 'ratio' in arm else ''

    def cells(row: dict[str, Any]) -> dict[str, str]:
        arms = row['arms']
        return {
            'grid': '{} x {}'.format(*row['grid']),
            'w': str(row['window']),
            'batch': str(row['batch']),
            'blocks of': '{} x {}'.format(*row['block']) if row['block'] else 'all',
            **{f'{name}, ms': time(arm) for name, arm in arms.items()},
            **{f'{name} / windowed': ratio(arms[name]) for name in (MASKED, FULL)},
            **{f'{name}, MiB': f'{arm["bytes"] / MIB:,.1f}' for name, arm in arms.items()},
            'dense mask / windowed, memory': f'{arms[MASKED]["bytes"] / arms[WINDOWED]["bytes"]:.1f}',
        }

    return benchmarks.markdown(pd.DataFrame([cells(row) for row in rows]))


def summary(rows: list[dict[str, Any]]) -> str:
    """What windows are meant to hold: a gain on long sequences, and no loss on short ones."""
    lines = []
    for row in rows:
        masked, ours = row['arms'][MASKED], row['arms'][WINDOWED]
        if row['grid'] == (1, 4096) and 'ratio' in masked:
            lines.append(
                f'At 4,096 tokens and w = {row["window"]} windowed is {masked["ratio"]["median"]:.1f} times as fast '
                f'as the dense mask (goal: 6), in 1/{masked["bytes"] / ours["bytes"]:.1f} of its memory (1/10).'
            )
    few = [row for row in rows if math.prod(row['grid']) <= FEW and 'ratio' in row['arms'][FULL]]
    if few:
        worst = min(few, key=lambda row: row['arms'][FULL]['ratio']['median'])
        lines.append(
            f'Up to {FEW} tokens windowed takes at most {1 / worst["arms"][FULL]["ratio"]["median"]:.2f} times as long '
            'as full attention (goal: 1.10), on a grid of {} x {} with w = {}.'.format(*worst['grid'], worst['window'])
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    command.run(main)
