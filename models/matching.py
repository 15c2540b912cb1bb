"""Fair comparison: the width at which an arm costs what the reference arm does, in params or in FLOPs.

The reference arm is the backbone with the mixer `model.reference`, full and without positions, at the width that is
written. A width is solved where the model is built, so a config keeps what was written in it.
"""

import functools
import json
import math
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from configs.errors import ConfigError
from data.spec import Spec
from models.accounting import count_params, forward_flops
from models.mixers import MIXERS
from models.model import build_as_written
from models.positions import POSITIONS

MATCHES = {'params': 'params', 'flops': 'FLOPs'}  # what model.match may name, as prose has it; '': widths as written
TOLERANCE = 0.03  # of the reference's count
EVALUATIONS = 8  # of the secant, before halving takes over; a well-behaved cost takes three or four


class Width(NamedTuple):
    """What was chosen for an arm, and the count that it was to meet."""

    fields: dict[str, int | float]  # of config.model
    reference: int | None  # params, or FLOPs per image; None: nothing to meet


# Fields of config.model that are so in every reference arm, beside its mixer.
REFERENCE = {
    'name': 'backbone',
    'window': None,
    'positions.name': 'none',
    'positions.inject': 'stem',
    'positions.content': True,
    'match': '',
}


def reference_arm(config: ConfigDict) -> ConfigDict:
    """The arm that `config` (an experiment's `config.model`) is matched to: as written, but for the mixer's part."""
    return _with(config, REFERENCE | {'mixer': config.reference})


def matched(config: ConfigDict, spec: Spec) -> ConfigDict:
    """`config` (an experiment's `config.model`) with the width that its `match` asks for.

    Raises:
      ConfigError: no width comes within TOLERANCE of the reference arm.
    """
    if not config.match:
        return config
    return _with(config, width(config, spec).fields | {'match': ''})


def width(config: ConfigDict, spec: Spec) -> Width:
    """The width of `config` (an experiment's `config.model`), solved or as written.

    Raises:
      ConfigError: as `matched`.
    """
    if config.match:
        return _solved_width(config.to_json(), spec)
    names = ('resnet_width',) if config.name == 'resnet' else ('embed_dim', 'mlp_ratio')
    return Width({name: config[name] for name in names}, None)


@functools.lru_cache(maxsize=1024)
def _solved_width(fields: str, spec: Spec) -> Width:
    config = ConfigDict(json.loads(fields))
    target = _count(reference_arm(config), spec, config.match)
    found = solve(config, lambda choice: _count(_with(config, choice | {'match': ''}), spec, config.match), target)
    if _close(found[0].cost, target):
        return Width(found[0].fields, target)
    nearest = ' or '.join(
        f'{", ".join(f"{name} {value:.4g}" for name, value in fields.items())} ({cost:,}; {cost / target - 1:+.1%})'
        for fields, cost in found[:2]
    )
    raise ConfigError(
        f"model.match={config.match!r}: no width of this arm comes within {TOLERANCE:.0%} of the reference arm's "
        f'{target:,} {MATCHES[config.match]}; the nearest is {nearest}; a larger model.embed_dim would do, '
        "or model.match=''"
    )


class Candidate(NamedTuple):
    """A width that was tried."""

    fields: dict[str, int | float]  # of config.model
    cost: int


def solve(config: ConfigDict, cost: Callable[[dict], int], target: int) -> list[Candidate]:
    """Widths of `config` (an experiment's `config.model`) near `target`, the best first; one at least.

    A backbone's `embed_dim` goes in steps of `multiple`. Where those are too coarse to come within TOLERANCE, its
    `mlp_ratio`, else as written, makes up the rest.

    Args:
      cost: of the config with such fields changed; grows with each of them.
    """
    if config.name == 'resnet':
        return _nearest(cost, target, config.resnet_width, lambda channels: {'resnet_width': channels})
    step = multiple(config)
    guess = max(1, round(config.embed_dim / step))
    found = _nearest(cost, target, guess, lambda steps: {'embed_dim': steps * step, 'mlp_ratio': config.mlp_ratio})
    for dim in [candidate.fields['embed_dim'] for candidate in found]:
        if _close(found[0].cost, target):
            break
        guess = max(1, round(config.mlp_ratio * dim))
        finer = _nearest(cost, target, guess, lambda hidden, dim=dim: {'embed_dim': dim, 'mlp_ratio': hidden / dim})
        found = sorted(finer + found, key=lambda candidate: abs(candidate.cost - target))
    return found


def _nearest(cost: Callable[[dict], int], target: int, guess: int, fields: Callable[[int], dict]) -> list[Candidate]:
    found = bracket(lambda number: cost(fields(number)), target, guess)
    candidates = [Candidate(fields(number), spent) for number, spent in found]
    return sorted(candidates, key=lambda candidate: abs(candidate.cost - target))


def _close(cost: int, target: int) -> bool:
    return abs(cost - target) <= TOLERANCE * target


def multiple(config: ConfigDict) -> int:
    """What the embed_dim of `config` (an experiment's `config.model`) must be a multiple of."""
    mixer, variant = MIXERS[config.mixer], POSITIONS[config.positions.name]
    heads = config.num_heads * variant.head_multiple if mixer.has_heads else 1
    return math.lcm(heads, variant.channels_multiple, mixer.channels_multiple)


def bracket(cost: Callable[[int], int], target: int, guess: int) -> list[tuple[int, int]]:
    """The whole numbers from 1 whose costs are nearest to `target` on either side, with their costs: one or two.

    A secant on the square root, since a network's cost is nearly quadratic in its width; should that crawl, halving.

    Args:
      cost: grows without bound.
    """
    below, above = (0, 0), None
    last, evaluations = (0, 0), 0
    while above is None or above[0] - below[0] > 1:
        spent, evaluations = cost(guess), evaluations + 1
        if spent == target:
            return [(guess, spent)]
        if spent < target:
            below = (guess, spent)
        else:
            above = (guess, spent)
        slope = (math.sqrt(spent) - math.sqrt(last[1])) / (guess - last[0])
        last = (guess, spent)
        guess = round(guess + (math.sqrt(target) - math.sqrt(spent)) / slope) if slope > 0 else 2 * guess
        if evaluations > EVALUATIONS:
            guess = 2 * below[0] if above is None else (below[0] + above[0]) // 2
        guess = max(below[0] + 1, guess if above is None else min(guess, above[0] - 1))
    return [end for end in (below, above) if end[0]]


def _count(config: ConfigDict, spec: Spec, quantity: str) -> int:
    return _count_of(config.to_json(), spec, quantity)


@functools.lru_cache(maxsize=4096)
def _count_of(fields: str, spec: Spec, quantity: str) -> int:
    config = ConfigDict(json.loads(fields))
    config.attention_kernel = 'xla'  # of the same cost, which is seen
    model = build_as_written(config, spec)
    if quantity == 'flops':
        return forward_flops(model, spec)
    return count_params(model.shapes)


def _with(config: ConfigDict, changes: dict[str, object]) -> ConfigDict:
    # A whole number may stand for a float as written, and is no reason to refuse the fraction that was solved.
    changed = ConfigDict(config.to_dict(), type_safe=False)
    changed.update_from_flattened_dict(changes)
    return changed
