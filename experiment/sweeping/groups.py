"""Which runs of a sweep train together: those that compile to one program, in chunks."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import jax

from experiment import folder
from experiment.sweeping.sweeps import Planned
from training.programs import program_fields
from training.saving.checkpoints import latest_step
from training.strategy import largest_population

Group = list[Planned]


def grouped(
    runs: Sequence[Planned], workdir: Path, at_most: int | None = None, finished: Sequence[Planned] = ()
) -> list[Group]:
    """`runs` in groups that training.loop.train takes.

    First the populations that were begun before, which go on as they were: in another one sums would round otherwise.
    (Not those of which a run has gone on in another one since, or alone, as with another --share: it would be torn from
    what it has become.) Then the others, in the order of each group's first run.

    Args:
      at_most: runs of a group that was not begun before; None: as many as pays (training.strategy).
      finished: runs that need no training, but may be of a population that does.
    """
    known = {run.name: run for run in (*finished, *runs)}
    begun = {name: folder.read_population(workdir / name) for name in known}
    groups, taken = [], set()
    for run in runs:
        names = None if run.name in taken else begun[run.name]
        free = names and all(name in known and name not in taken for name in names)
        if free and all(begun[name] in (names, None) for name in names):  # None: the list is damaged, or was removed
            groups.append([known[name] for name in names])
            taken.update(names)
    return groups + _by_program([run for run in runs if run.name not in taken], begun, workdir, at_most)


def _by_program(
    runs: Sequence[Planned], begun: dict[str, list[str] | None], workdir: Path, at_most: int | None
) -> list[Group]:
    alike: dict[str, Group] = {}
    for run in runs:
        config = run.config
        same = program_fields(config) | {name: config[name].to_dict() for name in ('log', 'checkpoint', 'debug')}
        # Alone, or in which population.
        same['begun'] = (begun[run.name] or run.name) if latest_step(workdir / run.name) else None
        alike.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    groups = []
    for runs_alike in alike.values():
        largest = largest_population(runs_alike[0].config) if at_most is None else at_most
        sizes = chunk_sizes(len(runs_alike), largest, jax.device_count())
        waiting = iter(runs_alike)
        groups += [list(itertools.islice(waiting, size)) for size in sizes]
    return groups


def chunk_sizes(runs: int, largest: int, devices: int) -> list[int]:
    """Sizes of the populations that share `runs`: `largest` at most, few, nearly equal, and multiples of `devices`.

    What then is left over, less than one for each device, is a population by itself.
    """
    share = devices if 1 < devices <= largest else 1
    whole, left = divmod(runs, share)
    return [share * size for size in _even(whole, largest // share)] + _even(left, largest)


def _even(runs: int, largest: int) -> list[int]:
    chunks = -(-runs // largest)
    return [runs // chunks + (index < runs % chunks) for index in range(chunks)]


def programs_of(group: Group) -> str:
    """What its programs follow from: groups that agree in it share them."""
    return json.dumps(program_fields(group[0].config) | {'size': len(group)}, sort_keys=True)


def label(group: Sequence[Planned]) -> str:
    """What a progress line calls it."""
    first, seeds = group[0], [run.config.seed for run in group]
    if len(group) == 1:
        return f'{first.arm}, seed {seeds[0]}'
    others = len({run.arm for run in group}) - 1
    more = f' and {others} more arm{"s" * (others > 1)}' if others else ''
    return f'{first.arm}{more}, {len(group)} runs together'
