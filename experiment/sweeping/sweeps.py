"""A sweep: a config file's `sweep()`, as runs that each have a name by its config."""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

import data
from configs.errors import ConfigError, nearest
from configs.fields import defaults, flatten
from experiment.checking.field_values import check_type
from experiment.checking.unread import OVERRULED, refuse_unread
from experiment.checking.validate import validate
from experiment.sweeping.figure import Figure, Place, check_figure, check_place
from files.text import LONGEST_TEXT, clean, shown
from models.patches import patch_grid
from training.plan import total_steps

NO_FIELDS = ('arm', 'against', 'tuned', 'curve', 'x')  # what a row of sweep() may say beside the fields that it sets


class Planned(NamedTuple):
    """One run of a sweep."""

    name: str  # of its folder: a hash of the resolved config
    arm: str  # the row of the table that it counts in
    overrides: dict[str, Any]
    config: ConfigDict
    steps: int  # that it trains
    place: Place | None = None  # where the arm stands in the sweep's figure
    tuned: tuple[str, ...] = ()  # fields of `overrides` whose values validation chooses among, for each arm
    against: tuple[str, ...] = ()  # the arms that the table compares this one with, beside the best


def run_name(config: ConfigDict) -> str:
    """Twelve hexadecimal digits that stand for the resolved config."""
    tree = json.loads(config.to_json())
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def plan(config: ConfigDict, overrides: Iterable[Any], figure: Any = None) -> list[Planned]:
    """Every run of the sweep, validated.

    Args:
      overrides: one dict a run, from dotted field names to values; the key 'arm' names its row in the table, and
        may be left out where the fields say enough. 'tuned' (a field that the row sets, or several) makes rows of an
        arm that differ there alternatives, of which the table reports what validation prefers. 'against' (the label of
        another arm, or several, or None) has the table test the arm against that one. 'curve' (text) and 'x' (a number,
        or a text where the axis is categorical) place the arm in the figure.
      figure: the config file's FIGURE: {'x': label of the axis, 'scale': 'linear', 'log' or 'category', 'quantities':
        some of 'test_accuracy' and 'images_per_second'}.
    Raises:
      ConfigError: an override names no field or has the wrong type, a config cannot run, two are the same, or the
        figure cannot be drawn.
    """
    axis, usual = _check_figure(figure), flatten(config.to_dict())
    planned: dict[str, Planned] = {}
    for number, row in enumerate(overrides):
        run = _planned(f'sweep()[{number}]', row, config, usual, axis)
        if run.name in planned:
            same = planned[run.name]
            raise ConfigError(f'sweep()[{number}] ({run.arm}) is the same run as {same.arm}, {same.overrides}')
        planned[run.name] = run
    if not planned:
        raise ConfigError('sweep() names no run')
    runs = list(planned.values())
    _check_rows_of_arms(runs, 'tuned=', lambda run: repr(run.tuned), 'the same in all of its rows would do')
    _check_rows_of_arms(runs, 'against=', lambda run: repr(run.against), 'the same in all of its rows would do')
    _check_pairs(runs)
    if axis:
        _check_rows_of_arms(runs, '', lambda run: _in_words(run.place), 'an arm is one point of the figure')
        _check_places(runs)
    return runs


def _planned(where: str, row: Any, config: ConfigDict, usual: dict[str, Any], axis: Figure | None) -> Planned:
    """The run of one row of sweep(), `where` it stands; `usual` are `config`'s fields, flat."""
    if not isinstance(row, dict):
        raise ConfigError(f'{where} is {shown(row)}; a dict from field names to values would do')
    # Seeds from numpy are numbers too, but not to a ConfigDict.
    fields = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    about = {name: fields.pop(name) for name in NO_FIELDS if name in fields}
    curve, x, arm = (about.get(name) for name in ('curve', 'x', 'arm'))
    tuned, against = _check_tuned(where, about.get('tuned', ()), fields), _labels(where, about.get('against'))
    _check_fields(where, fields)
    arm = _label(where, _name_by(fields, tuned) if arm is None else str(arm))
    named, resolved = f'{where} ({arm})', config.copy_and_resolve_references().lock()
    try:
        for name, value in fields.items():
            check_type(name, value)
        resolved.update_from_flattened_dict(fields)
        validate(resolved)
        refuse_unread(fields, [resolved], usual=usual, tokens_of=_tokens)
        steps = total_steps(resolved, _training_examples(resolved.data.to_json()))
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'{named}: {error.args[0] if error.args else error}') from error
    return Planned(run_name(resolved), arm, fields, resolved, steps, _place(named, curve, x, axis), tuned, against)


def refuse_overridden(asked: dict[str, Any], runs: list[Planned]) -> None:
    """Raises ConfigError when a field that was `asked` for on the command line, by dotted name, changes no run."""
    for name, value in asked.items():
        left = [run.config for run in runs if not _sets(run, name)]
        if not left:
            setting = name if name in runs[0].overrides else OVERRULED[name]
            raise ConfigError(
                f'--config.{name}={value} changes nothing: every row of sweep() sets {setting}; there it can be changed'
            )
        refuse_unread({name: value}, left, '--config.', tokens_of=_tokens)


def _tokens(config: ConfigDict) -> int:
    """That a valid config makes of an image; a ResNet does not, and its patches count for nothing."""
    return math.prod(patch_grid(_image_shape(config.data.to_json()), config.model.patch_size))


@functools.lru_cache(maxsize=16)
def _image_shape(fields: str) -> tuple[int, int, int]:
    """Of a dataset, by its config: to look it up for each row of a sweep takes seconds."""
    return data.spec(ConfigDict(json.loads(fields))).image_shape


@functools.lru_cache(maxsize=1024)
def _training_examples(fields: str) -> int:
    """Of a dataset, by its config: rows that take datasets in turn would have each made once more."""
    return len(data.load_once(ConfigDict(json.loads(fields))).train.labels)


def _sets(run: Planned, name: str) -> bool:
    """Whether a run's row says what field `name` comes to, by itself or by one that goes before it."""
    return name in run.overrides or (name in OVERRULED and run.overrides.get(OVERRULED[name]) is not None)


def _check_fields(where: str, fields: dict[Any, Any]) -> None:
    """Refuses names of no field; ml_collections would say it with a traceback, or take a group for a field."""
    known = defaults()
    for name in fields:
        if name not in known:
            raise ConfigError(f'{where}: there is no field {name}; {nearest(str(name), known)}')


def _check_tuned(where: str, tuned: Any, fields: dict[Any, Any]) -> tuple[str, ...]:
    names = (tuned,) if isinstance(tuned, str) else tuned
    known = isinstance(names, list | tuple) and all(isinstance(name, str) and name in fields for name in names)
    if not known or 'seed' in names:
        raise ConfigError(f'{where} has tuned={shown(tuned)}; a field that it sets, other than the seed, would do')
    return tuple(names)


def _check_rows_of_arms(runs: list[Planned], what: str, told: Callable[[Planned], str], mend: str) -> None:
    """Raises ConfigError where two rows of an arm do not say the same: what is `told` of their runs."""
    told_of: dict[str, str] = {}
    for run in runs:
        there = told_of.setdefault(run.arm, told(run))
        if there != told(run):
            raise ConfigError(
                f'arm {run.arm!r} has {what}{there} in one row of sweep() and {told(run)} in another; {mend}'
            )


def _label(where: str, written: str) -> str:
    """The label of an arm as whoever reads sweep.json takes it: two that are one there would share a row."""
    label = clean(written)
    if not label:
        raise ConfigError(f"{where} has an empty 'arm'; a label would do, or none")
    if len(written) > LONGEST_TEXT:
        raise ConfigError(
            f"{where} has the label {shown(written)} of {len(written)} characters; an 'arm' of at most {LONGEST_TEXT} "
            'would do'
        )
    return label


def _labels(where: str, against: Any) -> tuple[str, ...]:
    labels = () if against is None else (against,) if isinstance(against, str) else against
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f'{where} has against={shown(against)}; the label of another arm would do, or a list of some')
    return tuple(dict.fromkeys(_label(where, label) for label in labels))


def _check_pairs(runs: list[Planned]) -> None:
    """Whom an arm is compared with is an arm too, and not itself."""
    arms = dict.fromkeys(run.arm for run in runs)
    for run in runs:
        others = [arm for arm in arms if arm != run.arm]
        for label in run.against:
            if label not in others:
                mend = nearest(label, others) if others else 'there is none'
                raise ConfigError(f'arm {run.arm!r} has against={label!r}, which is no other arm; {mend}')


def _name_by(fields: dict[str, Any], tuned: tuple[str, ...]) -> str:
    shown = {name: value for name, value in fields.items() if name != 'seed' and name not in tuned}
    return ', '.join(f'{name}={value}' for name, value in shown.items()) or 'default'


def _check_figure(figure: Any) -> Figure | None:
    try:
        return None if figure is None else check_figure(figure)
    except ValueError as error:
        raise ConfigError(f'FIGURE {error}') from error


def _place(where: str, curve: Any, x: Any, axis: Figure | None) -> Place | None:
    scale = axis.scale if axis else 'category' if isinstance(x, str) else 'linear'
    try:
        return check_place(curve, x, scale)
    except ValueError as error:
        raise ConfigError(f'{where} {error}') from error


def _check_places(runs: list[Planned]) -> None:
    """A point of the figure is one arm: a mean over several would hide what differs."""
    if not any(run.place for run in runs):
        raise ConfigError("FIGURE is set, but no row of sweep() has 'curve' and 'x'; give them to the rows to be drawn")
    arm_at: dict[Place, str] = {}
    for run in runs:
        if run.place and arm_at.setdefault(run.place, run.arm) != run.arm:
            raise ConfigError(
                f'arms {arm_at[run.place]!r} and {run.arm!r} both have {_in_words(run.place)}; '
                'a point of the figure is one arm'
            )


def _in_words(place: Place | None) -> str:
    return f'curve={place.curve!r} and x={place.x!r}' if place else 'no curve and x'
