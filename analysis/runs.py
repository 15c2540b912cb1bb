"""Reads what a sweep left on disk: run folders and sweep.json, either of which may be torn, foreign or hostile.

Nothing here trusts a file. What cannot be read or does not make sense is named in a warning and its run counts as
not finished; it never becomes a number.
"""

import json
import math
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import ConfigError
from experiment.folder import CONFIG, FAILED, RESULT, flatten

FINISHED = 'finished'
# Why a run is not finished, in the order in which a table counts them.
UNFINISHED = ('diverged', 'failed', 'damaged', 'unfinished')

LARGEST_FILE = 16 * 2**20  # bytes; a sweep.json of ten thousand runs takes 4 MiB
DEEPEST_NESTING = 32  # config trees take 4
LONGEST_TEXT = 200  # characters of a label or message that came from a file


class Damaged(Exception):
    """A file that cannot be what it should be; the message says why, in one line."""


@dataclass(frozen=True)
class Result:
    """What a table needs of result.json. Fields that may be None only describe the run: no number rests on them."""

    accuracy: float  # on test, in [0, 1]
    test_examples: int
    params: int
    forward_flops: int  # per image
    steps: int
    images_seen: int
    images_per_second: float | None  # compilation excluded
    train_examples: int | None
    selection_split: str | None
    selection_rule: str | None
    device: str | None
    versions: str | None
    commit: str | None
    dirty: bool


@dataclass(frozen=True)
class Run:
    """One run: `status` is 'finished' or one of UNFINISHED; `detail` says why; `result` is set when finished."""

    name: str
    seed: int | None
    status: str
    detail: str = ''
    config: dict | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Arm:
    """Runs of one config that differ in the seed alone."""

    label: str
    runs: tuple[Run, ...]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == FINISHED]

    @property
    def complete(self) -> bool:
        return len(self.finished) == len(self.runs)

    def count(self, status: str) -> int:
        return sum(run.status == status for run in self.runs)


class Sweep(NamedTuple):
    """The arms in the author's order, and what was wrong with the files, a line each."""

    arms: tuple[Arm, ...]
    warnings: tuple[str, ...]


def read(workdir: str | Path) -> Sweep:
    """Reads a sweep's folder, a folder of run folders, or one run folder.

    With sweep.json, arms have its labels and order, and runs that it lists but that left no result count as
    unfinished. Without it, arms are the configs that differ in more than the seed, and labels name what differs.

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
        raise ConfigError(
            f'{shown}: no runs in it; {mend}' + ''.join(f' ({warning})' for warning in sweep.warnings[:1])
        )
    if not counts[FINISHED] + counts['diverged'] + counts['failed']:
        what = ', '.join(f'{counts[status]} {status}' for status in UNFINISHED if counts[status])
        raise ConfigError(f'{shown}: no finished run in it ({what}); the command that made it, run again, goes on')
    return sweep


def _read(workdir: Path) -> Sweep:
    warnings: list[str] = []
    try:
        listing = read_json(workdir / 'sweep.json')
        if listing is not None:
            arms = _listed_arms(workdir, _entries(listing, warnings), warnings)
            return Sweep(arms, tuple(warnings))
    except Damaged as error:
        warnings.append(f'sweep.json {error}; labels come from the configs, and runs that never started are not seen')
    if _is_run(workdir):
        folders = [workdir.resolve()]
    else:
        folders = sorted(folder for folder in workdir.iterdir() if not folder.name.startswith('.') and _is_run(folder))
    groups: dict[str, list[Run]] = {}
    for folder in folders:
        run = _read_run(folder, warnings)
        # A folder whose config is lost cannot join an arm; it stays visible as an arm of its own.
        groups.setdefault(_arm_key(run.config) if run.config else run.name, []).append(run)
    arms = []
    for group, label in zip(groups.values(), _labels([group[0].config for group in groups.values()]), strict=True):
        whole = workdir.resolve().name if len(groups) == 1 else group[0].name
        arms.append(Arm(label or clean(whole), _one_run_a_seed(group, warnings)))
    return Sweep(tuple(arms), tuple(warnings))


class _Entry(NamedTuple):
    run: str
    arm: str
    seed: int | None


def _entries(listing: dict, warnings: list[str]) -> list[_Entry]:
    """sweep.json's runs, each once, in order. Raises Damaged when it lists none that can be used."""
    rows = listing.get('runs')
    if not isinstance(rows, list):
        raise Damaged('has no list of runs')
    entries = {}
    for position, row in enumerate(rows):
        row = row if isinstance(row, dict) else {}
        name, arm, overrides = row.get('run'), row.get('arm'), row.get('overrides')
        if not (isinstance(name, str) and _is_folder_name(name) and isinstance(arm, str)):
            warnings.append(f'sweep.json: entry {position} is ignored: run={clean(repr(name))}, arm={clean(repr(arm))}')
        elif name in entries:
            # Counted twice, a run would pass for two seeds.
            warnings.append(f'sweep.json: run {clean(name)} is listed twice and counted once')
        else:
            seed = overrides.get('seed') if isinstance(overrides, dict) else None
            entries[name] = _Entry(name, clean(arm), seed if _is_integer(seed) else None)
    if not entries:
        raise Damaged('lists no run that can be used')
    return list(entries.values())


def _listed_arms(workdir: Path, entries: list[_Entry], warnings: list[str]) -> tuple[Arm, ...]:
    arms = []
    for label in dict.fromkeys(entry.arm for entry in entries):
        runs = []
        for entry in (entry for entry in entries if entry.arm == label):
            run = _read_run(workdir / entry.run, warnings)
            if run.result and entry.seed is not None and run.seed != entry.seed:
                why = f'has seed {run.seed}, where sweep.json says {entry.seed}'
                warnings.append(f'{run.name}: {why}')
                run = replace(run, status='damaged', detail=why, result=None)
            runs.append(replace(run, seed=entry.seed if run.seed is None else run.seed))
        keys = list(dict.fromkeys(_arm_key(run.config) for run in runs if run.config))
        if len(keys) <= 1:
            arms.append(Arm(label, _one_run_a_seed(runs, warnings)))
            continue
        # One label over several configs would average what is not alike: a row each, told apart by what differs.
        warnings.append(f'arm {label} covers {len(keys)} configs; each has its own row')
        groups = [[run for run in runs if run.config and _arm_key(run.config) == key] for key in keys]
        groups[0] += [run for run in runs if not run.config]
        for group, differs in zip(groups, _labels([group[0].config for group in groups]), strict=True):
            arms.append(Arm(clean(f'{label} ({differs})'), _one_run_a_seed(group, warnings)))
    return tuple(arms)


def _one_run_a_seed(runs: list[Run], warnings: list[str]) -> tuple[Run, ...]:
    """Drops runs that repeat a seed of their arm: they are no new evidence. Finished runs go before others."""
    kept: dict[Any, Run] = {}
    for run in runs:
        seed = run.name if run.seed is None else run.seed
        if seed in kept:
            first, second = (kept[seed], run) if run.status != FINISHED or kept[seed].result else (run, kept[seed])
            warnings.append(f'{second.name} repeats seed {seed} of {first.name} and is not counted')
            kept[seed] = first
        else:
            kept[seed] = run
    return tuple(kept.values())


def _is_run(folder: Path) -> bool:
    try:
        return any((folder / name).exists() for name in (CONFIG, RESULT, FAILED))
    except PermissionError:
        return True  # a folder that does not open may be one: reading it says so in a warning


def _read_run(folder: Path, warnings: list[str]) -> Run:
    name = clean(folder.name)
    config = None
    try:
        config = read_json(folder / CONFIG)
    except Damaged as error:
        warnings.append(f'{name}: config.json {error}')
    run = Run(name, _seed(config), 'unfinished', config=config)
    try:
        content = read_json(folder / RESULT)
        if content is not None:
            return _read_result(run, content)
    except Damaged as error:
        warnings.append(f'{name}: result.json {error}; the run counts as not finished')
        return replace(run, status='damaged', detail=str(error))
    try:
        content = read_json(folder / FAILED)
        if content is not None:
            return replace(run, status='failed', detail=_text(content.get('error')) or '')
    except Damaged as error:
        warnings.append(f'{name}: failed.json {error}')
        return replace(run, status='failed')
    return run


def _read_result(run: Run, content: dict) -> Run:
    config = content.get('config')
    if not isinstance(config, dict):
        raise Damaged('has no config')
    if run.config is not None and run.config != config:
        raise Damaged("is of another config than the folder's config.json")
    run = replace(run, config=config, seed=_field(content, 'seed', _is_integer, 'a whole number'))
    if _seed(config) not in (None, run.seed):
        raise Damaged(f'has seed {run.seed}, and seed {_seed(config)} in its config')
    status = content.get('status')
    if status == 'diverged':
        step = content.get('diverged_step')
        return replace(run, status='diverged', detail=f'at step {step}' if _is_integer(step) else '')
    if status != FINISHED:
        raise Damaged(f'has status {clean(repr(status))}')
    count = 'a whole number from 0'
    device = _lookup(content, 'device')
    result = Result(
        accuracy=_field(content, 'test.accuracy', lambda value: _is_number(value) and value <= 1, 'in [0, 1]'),
        test_examples=_field(content, 'test.examples', lambda value: _is_count(value) and value > 0, 'from 1'),
        params=_field(content, 'params', _is_count, count),
        forward_flops=_field(content, 'forward_flops', _is_count, count),
        steps=_field(content, 'steps', _is_count, count),
        images_seen=_field(content, 'images_seen', _is_count, count),
        images_per_second=_field(
            content, 'images_per_second', lambda value: value is None or _is_number(value), 'a number from 0'
        ),
        train_examples=_optional_count(content, 'train.examples'),
        selection_split=_text(_lookup(content, 'selection.split')),
        selection_rule=_text(_lookup(content, 'selection.rule')),
        device=_device(device) if isinstance(device, dict) else None,
        versions=_versions(_lookup(content, 'versions')),
        commit=_text(_lookup(content, 'git.commit')),
        dirty=_lookup(content, 'git.dirty') is True,
    )
    return replace(run, status=FINISHED, result=result)


def _device(device: dict) -> str | None:
    kind = _text(device.get('kind')) or _text(device.get('platform'))
    return f'{device["count"]} x {kind}' if kind and _is_count(device.get('count')) else kind


def _versions(versions: Any) -> str | None:
    if not isinstance(versions, dict):
        return None
    return clean(', '.join(f'{name} {version}' for name, version in versions.items() if isinstance(version, str)))


def _field(content: dict, path: str, is_valid: Callable[[Any], bool], wanted: str) -> Any:
    value = _lookup(content, path)
    if not is_valid(value):
        raise Damaged(f'has {path}={clean(repr(value))}, which should be {wanted}')
    return value


def _lookup(tree: Any, path: str) -> Any:
    for key in path.split('.'):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def config_count(run: Run, path: str) -> int | None:
    """A whole number from 0 in a run's config, by its dotted path; None when it is not there or is none."""
    return _optional_count(run.config or {}, path)


def config_text(run: Run, path: str) -> str | None:
    """A text in a run's config, by its dotted path; None when it is not there or is none."""
    return _text(_lookup(run.config, path))


def _optional_count(tree: dict, path: str) -> int | None:
    value = _lookup(tree, path)
    return value if _is_count(value) else None


def _seed(config: dict | None) -> int | None:
    seed = (config or {}).get('seed')
    return seed if _is_integer(seed) else None


def _is_integer(value: Any) -> bool:
    # bool is an int in Python; what leaves 64 bits is no count of anything here.
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_number(value: Any) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value) and value >= 0)


def _is_folder_name(name: str) -> bool:
    """Whether a name from a file is that of a folder right here: no way up, out or into hidden ones."""
    return bool(name) and name == clean(name) and not name.startswith('.') and not set(name) & set('/\\:')


def _text(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) and value else None


def clean(text: str) -> str:
    """One printable line of at most LONGEST_TEXT characters.

    Whitespace runs become a space; control, format and surrogate characters (Unicode's C categories), with which
    a file could steer a terminal or reverse a line, go.
    """
    # Cut before the work too: a file may hold megabytes of one label.
    text = ' '.join(text[: 4 * LONGEST_TEXT].split())
    text = ''.join(character for character in text if not unicodedata.category(character).startswith('C'))
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + '…'


def _arm_key(config: dict) -> str:
    """What two runs of one arm share: the config without its seed."""
    return json.dumps({name: value for name, value in config.items() if name != 'seed'}, sort_keys=True)


def _labels(configs: list[dict | None]) -> list[str]:
    """For each config, the fields in which it differs from the others; '' where there is none to name."""
    leaves = [flatten(config) if config else {} for config in configs]
    names = dict.fromkeys(name for tree in leaves for name in tree if name != 'seed')
    known = [tree for tree in leaves if tree]
    # As JSON, because 1, 1.0 and True are equal to Python.
    differing = [name for name in names if len({json.dumps(tree.get(name)) for tree in known}) > 1]
    return [clean(', '.join(f'{name}={tree[name]}' for name in differing if name in tree)) for tree in leaves]


def read_json(path: Path) -> dict | None:
    """Reads a JSON object from a regular file of bounded size and depth; None where there is no such file.

    Raises Damaged, naming what is wrong.
    """
    try:
        # A FIFO would block for ever, and a device never end.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Damaged('is not a regular file')
        if status.st_size > LARGEST_FILE:
            raise Damaged(f'is too large ({status.st_size} bytes; at most {LARGEST_FILE})')
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(f'cannot be read ({error.strerror})') from error
    except RecursionError as error:
        raise Damaged('is nested too deeply') from error
    except ValueError as error:  # torn or no JSON, no UTF-8, or a number of thousands of digits
        raise Damaged(f'is torn or not JSON ({clean(str(error))})') from error
    if not isinstance(content, dict):
        raise Damaged('is not a JSON object')
    level: list = [content]
    for _ in range(DEEPEST_NESTING):
        inner = (value for node in level for value in (node.values() if isinstance(node, dict) else node))
        level = [value for value in inner if isinstance(value, dict | list)]
    if level:
        raise Damaged('is nested too deeply')
    return content
