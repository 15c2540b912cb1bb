"""Groups a folder of runs into the arms of a table, by sweep.json where there is one, else by the runs' configs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from analysis.reading.manifest import Entry, read_entries, read_figure
from analysis.reading.records import FINISHED, UNFINISHED, Run, is_run, read_run
from analysis.reading.tuning import Tuning, choose, names
from configs.errors import ConfigError
from configs.fields import flatten
from experiment.folder import MANIFEST
from experiment.sweeping.figure import Figure, Place
from files.reading import Damaged, read_json
from files.text import clean

USUAL = 2 / 3  # of the arms: a value that as many have goes without saying in labels that are made


@dataclass(frozen=True)
class Arm:
    """Runs of one config that differ in the seed alone."""

    label: str
    runs: tuple[Run, ...]
    place: Place | None = None  # None: the figure, if there is one, is without it
    tuning: Tuning | None = None  # what else was tried, where its `runs` are those that validation preferred
    against: tuple[str, ...] = ()  # labels of the arms that the author asks to compare it with

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == FINISHED]

    @property
    def accuracies(self) -> list[float]:
        """On test, in [0, 1], of its finished runs."""
        return [run.result.accuracy for run in self.finished]

    @property
    def complete(self) -> bool:
        return len(self.finished) == len(self.runs)

    @property
    def unfinished(self) -> dict[str, int]:
        """How many runs came to each end that is none, or to none; in the order of UNFINISHED."""
        return {status: sum(run.status == status for run in self.runs) for status in UNFINISHED}

    @property
    def tuned(self) -> tuple[str, ...]:
        """Fields that were chosen for this arm by itself: no difference from another arm."""
        return self.tuning.fields if self.tuning else ()

    @property
    def config(self) -> dict | None:
        """That of its first run that left one; they differ in the seed alone."""
        return next((run.config for run in self.runs if run.config), None)


class Sweep(NamedTuple):
    """The arms in the author's order, what was wrong with the files, a line each, and the figure to draw, if any."""

    arms: tuple[Arm, ...]
    warnings: tuple[str, ...]
    figure: Figure | None = None


def read(workdir: str | Path) -> Sweep:
    """Reads a sweep's folder, a folder of run folders, or one run folder.

    With sweep.json, arms have its labels and order, and runs that it lists but that left no result count as
    unfinished; of an arm that is tuned, the runs are those of the setting that `tuning.choose` prefers. Without it,
    arms are the configs that differ in more than the seed, and labels name what differs; a folder's name stands for
    the one that is as nearly all are.

    Raises ConfigError when the folder is missing or unreadable, or when no run in it came to an end.
    """
    workdir, shown = Path(workdir), f'--workdir={clean(str(workdir))}'
    mend = 'give the --workdir of train.py or sweep.py'
    try:
        if not workdir.is_dir():
            raise ConfigError(f'{shown}: no such folder; {mend}')
        sweep = _read(workdir)
    except OSError as error:
        raise ConfigError(f'{shown}: cannot be read ({error.strerror}); {mend}') from error
    counts = Counter(run.status for arm in sweep.arms for run in arm.runs)
    if not counts:
        why = f' ({sweep.warnings[0]})' if sweep.warnings else ''
        raise ConfigError(f'{shown}: no runs in it; {mend}{why}')
    if not counts[FINISHED] + counts['diverged'] + counts['failed']:
        what = _ends(counts)
        raise ConfigError(f'{shown}: no finished run in it ({what}); the command that made it, run again, resumes')
    return sweep


def runs_counted(finished: int, runs: int, counts: Mapping[str, Any]) -> str:
    """`3`, or `2 of 3 (1 diverged)`; `counts` has one for each of UNFINISHED."""
    why = _ends(counts)
    return f'{finished} of {runs} ({why})' if why else str(finished)


def _ends(counts: Mapping[str, Any]) -> str:
    return ', '.join(f'{counts[status]} {status}' for status in UNFINISHED if counts[status])


def pairs(arms: Sequence[Arm]) -> list[tuple[int, int]]:
    """The arms that are to be compared, by their places: labels need not be unique. Those that are no arm are left."""
    places = {arm.label: place for place, arm in enumerate(arms)}
    return [(place, places[other]) for place, arm in enumerate(arms) for other in arm.against if other in places]


def folder_of(workdir: Path, run: Run) -> Path:
    """Where a run of the sweep in `workdir` is; `workdir` itself may be the run."""
    return workdir if is_run(workdir) else workdir / run.name


def _read(workdir: Path) -> Sweep:
    warnings: list[str] = []
    entries: list[Entry] = []
    figure = None
    try:
        listing = read_json(workdir / MANIFEST)
        if listing is not None:
            figure = read_figure(listing, warnings)
            entries = read_entries(listing, figure, warnings)
    except Damaged as error:
        warnings.append(f'sweep.json {error}; labels come from the configs, and runs that never started are not seen')
    arms = _listed_arms(workdir, entries, warnings) if entries else _found_arms(workdir, warnings)
    return Sweep(tuple(arms), tuple(warnings), figure if entries else None)


def _listed_arms(workdir: Path, entries: list[Entry], warnings: list[str]) -> list[Arm]:
    labelled: dict[str, list[tuple[Entry, Run]]] = {}
    places: dict[str, set[Place | None]] = {}
    for entry in entries:
        labelled.setdefault(entry.arm, []).append((entry, _listed_run(workdir, entry)))
        places.setdefault(entry.arm, set()).add(entry.place)
    arms = []
    for label, listed in labelled.items():
        warnings += [warning for _, run in listed for warning in run.warnings]
        runs, tuning = _tuned_runs(label, listed, warnings)
        others = dict.fromkeys(other for entry, _ in listed for other in entry.against)
        against = tuple(other for other in others if other != label)
        groups = _by_config([run for run in runs if run.config])
        # To choose one of several places would be to move the arm's other runs.
        place = next(iter(places[label])) if len(places[label]) == 1 and len(groups) <= 1 else None
        if place is None and places[label] != {None}:
            warnings.append(f'arm {label} has no single place in the figure, which is without it')
        if len(groups) <= 1:
            arms.append(Arm(label, _one_run_a_seed(runs, warnings), place, tuning, against))
            continue
        # One label over several configs would average what is not alike: a row each, told apart by what differs.
        warnings.append(f'arm {label} covers {len(groups)} configs; each has its own row')
        groups[0] += [run for run in runs if not run.config]
        for group, differs in zip(groups, _differences(groups), strict=True):
            name = clean(f'{label} ({differs or group[0].name})')
            arms.append(Arm(name, _one_run_a_seed(group, warnings), against=against))
    return arms


def _tuned_runs(label: str, listed: list[tuple[Entry, Run]], warnings: list[str]) -> tuple[list[Run], Tuning | None]:
    """The runs of an arm that count: all of them, or those of the setting that was chosen where it is tuned."""
    runs, fields = [run for _, run in listed], tuple(listed[0][0].tuned)
    if not any(entry.tuned for entry, _ in listed):
        return runs, None
    settings = _settings(listed)
    if not _differ_in(fields, listed, settings):
        warnings.append(f'arm {label} is tuned, but its runs differ in more than {", ".join(fields) or "that"}')
        return runs, None
    tuning = choose(fields, [(values, _one_run_a_seed(group, warnings)) for values, group in settings])
    undecided = [one for one in tuning.tried if one.accuracy is None and one.why != 'diverged']
    if undecided:
        left = f'{tuning.setting(undecided[0], names(fields))} is {undecided[0].why}'
        ready = f'{len(tuning.tried) - len(undecided)} of {len(tuning.tried)}'
        warnings.append(f'{", ".join(fields)} of {label} was chosen among {ready} settings: {left}')
    if len({frozenset(run.seed for run in group) for _, group in settings}) > 1:
        warnings.append(f'{", ".join(fields)} of {label} was chosen among settings of different seeds')
    return settings[tuning.chosen][1], tuning


def _settings(listed: list[tuple[Entry, Run]]) -> list[tuple[tuple[Any, ...], list[Run]]]:
    """The values of an arm's tuned fields, each with its runs, in the author's order."""
    settings: dict[str, tuple[tuple[Any, ...], list[Run]]] = {}
    for entry, run in listed:
        values = tuple(entry.tuned.values())
        settings.setdefault(json.dumps(values), (values, []))[1].append(run)  # 1, 1.0 and True are equal to Python
    return list(settings.values())


def _differ_in(
    fields: tuple[str, ...],
    listed: list[tuple[Entry, Run]],
    settings: list[tuple[tuple[Any, ...], list[Run]]],
) -> bool:
    """Whether an arm's runs differ in the tuned `fields` and the seed alone, those of a setting in the seed alone."""
    if any(tuple(entry.tuned) != fields for entry, _ in listed):
        return False
    alike = len(_by_config([run for _, run in listed if run.config], fields)) <= 1
    return alike and all(len(_by_config([run for run in group if run.config])) <= 1 for _, group in settings)


def _listed_run(workdir: Path, entry: Entry) -> Run:
    run = read_run(workdir / entry.run)
    if run.result and entry.seed is not None and run.seed != entry.seed:
        why = f'has seed {run.seed}, where sweep.json says {entry.seed}'
        run = replace(run.warned(why), status='damaged', detail=why, result=None)
    return replace(run, seed=entry.seed if run.seed is None else run.seed)


def _found_arms(workdir: Path, warnings: list[str]) -> list[Arm]:
    """The arms where no list tells them: configs that differ in more than the seed."""
    if is_run(workdir):
        folders = [workdir.resolve()]
    else:
        folders = sorted(folder for folder in workdir.iterdir() if not folder.name.startswith('.') and is_run(folder))
    runs = [read_run(folder) for folder in folders]
    warnings += [warning for run in runs for warning in run.warnings]
    groups = _by_config(runs)
    arms = []
    for group, differs in zip(groups, _differences(groups), strict=True):
        name = workdir.resolve().name if len(groups) == 1 else group[0].name
        arms.append(Arm(differs or clean(name), _one_run_a_seed(group, warnings)))
    return arms


def _by_config(runs: list[Run], apart: tuple[str, ...] = ()) -> list[list[Run]]:
    """Runs whose configs differ in the seed alone, and fields that are `apart`, together; one without stands alone."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        leaves = flatten(run.config or {})
        shared = {name: value for name, value in leaves.items() if name != 'seed' and name not in apart}
        key = json.dumps(shared, sort_keys=True) if run.config else run.name
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _differences(groups: list[list[Run]]) -> list[str]:
    """For each group, the fields in which its config differs from the others'; '' where there is none to name.

    A value that nearly all have is not repeated in each: who has another one says so.
    """
    leaves = [flatten(group[0].config or {}) for group in groups]
    known = [tree for tree in leaves if tree]
    told: dict[str, str | None] = {}  # fields that differ, and the value that goes without saying
    for name in dict.fromkeys(name for tree in known for name in tree if name != 'seed'):
        # As JSON, because 1, 1.0 and True are equal to Python.
        values = Counter(json.dumps(tree[name]) if name in tree else None for tree in known)
        usual, count = values.most_common(1)[0]
        if len(values) > 1:
            told[name] = usual if count >= USUAL * len(known) and None not in values else None
    return [
        clean(
            ', '.join(f'{name}={tree[name]}' for name in told if name in tree and json.dumps(tree[name]) != told[name])
        )
        for tree in leaves
    ]


def _one_run_a_seed(runs: list[Run], warnings: list[str]) -> tuple[Run, ...]:
    """Drops runs that repeat a seed of their arm: they are no new evidence. Finished runs go before others."""
    kept: dict[int | str, Run] = {}
    for run in runs:
        seed = run.name if run.seed is None else run.seed
        if seed in kept:
            kept[seed], dropped = sorted((kept[seed], run), key=lambda run: run.status != FINISHED)
            warnings.append(f'{dropped.name} repeats seed {seed} of {kept[seed].name} and is not counted')
        else:
            kept[seed] = run
    return tuple(kept.values())
