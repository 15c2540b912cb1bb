"""A sweep divided among machines: each trains a share of its runs.

Whose a run is follows from the sweep alone, so that shares have nothing to tell each other.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import data
from configs.errors import ConfigError
from experiment.folder import FAILED, read_result
from experiment.sweeping.sweeps import Planned
from models.accounting import forward_flops
from training.compiling.costs import countable
from training.programs import program_fields
from training.step import build_model


class Share(NamedTuple):
    """The `number`-th, from 1, of `of` shares."""

    number: int
    of: int


def parse(text: str) -> Share:
    """What --share=K/N says. Raises ConfigError: it is none of N."""
    found = re.fullmatch(r'(\d{1,9})/(\d{1,9})', text, flags=re.ASCII)
    share = Share(*map(int, found.groups())) if found else Share(0, 0)
    if not 1 <= share.number <= share.of:
        raise ConfigError(f'--share={text}: K/N would do, for the K-th of N shares: of four 1/4, 2/4, 3/4 and 4/4')
    return share


def runs_of(share: Share, runs: Sequence[Planned]) -> list[Planned]:
    """The runs of one share.

    Shares are of nearly as much work, in FLOPs, and each has a run at least. Runs that compile to one program, and so
    may train together, part only where a share ends. The order of `runs` does not matter, which may not be the same on
    every machine: a config file may go through a set.

    Raises:
      ConfigError: there are more shares than runs.
    """
    if share.of > len(runs):
        there = f'{len(runs)} runs' if len(runs) > 1 else 'one run'
        raise ConfigError(f'--share={share.number}/{share.of}: the sweep has {there}; as many shares at most would do')
    alike: dict[str, list[Planned]] = {}
    for run in sorted(runs, key=lambda run: run.name):
        alike.setdefault(json.dumps(program_fields(run.config), sort_keys=True), []).append(run)
    works = [each for group in alike.values() for each in [work(group[0])] * len(group)]
    owners = divided(works, share.of)
    names = [run.name for group in alike.values() for run in group]
    mine = {name for name, owner in zip(names, owners, strict=True) if owner == share.number - 1}
    return [run for run in runs if run.name in mine]


def left(mine: Sequence[Planned], runs: Sequence[Planned], workdir: Path) -> int:
    """How many of `runs`, which are not `mine`, have neither a result nor a note that they failed."""
    others = {run.name for run in runs} - {run.name for run in mine}
    ended = [name for name in others if (workdir / name / FAILED).exists() or read_result(workdir / name)]
    return len(others) - len(ended)


def work(run: Planned) -> int:
    """About what it takes to train a run: the FLOPs of the forward passes of all its steps."""
    spec = data.spec(run.config.data)
    flops = forward_flops(countable(build_model(run.config, spec), run.config, spec), spec)
    return flops * run.config.train.batch_size * run.steps


def divided(works: Sequence[int], parts: int) -> list[int]:
    """Which of `parts` parts, from 0, each piece of work is in: neighbours stay together, and no part is empty."""
    owners, total, before = [], sum(works), 0
    for index, one in enumerate(works):
        middle = parts * (2 * before + one) // (2 * total)
        follows = owners[-1] + 1 if owners else 0
        owners.append(max(min(middle, follows), parts - len(works) + index))
        before += one
    return owners
