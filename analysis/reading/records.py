"""Reads one run folder into a record. Its files may be torn, foreign or hostile, and nothing here trusts them.

What cannot be read or does not make sense is named in a warning and its run counts as not finished; it never
becomes a number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiment.folder import CONFIG, FAILED, RESULT
from files.checksums import CHECKSUM, verified
from files.reading import Damaged, read_json
from files.text import clean, shown
from files.values import is_integer, is_number

FINISHED = 'finished'
# Why a run is not finished, in the order in which a table counts them.
UNFINISHED = ('diverged', 'failed', 'damaged', 'unfinished')

MATCHES = ('params', 'flops')  # what a width may be solved for
WIDTHS = ('embed_dim', 'mlp_ratio', 'resnet_width')  # fields of config.model that say how wide an arm is


@dataclass(frozen=True)
class Result:
    """What a table needs of result.json. Fields that may be None only describe the run: no number rests on them."""

    accuracy: float  # on test, in [0, 1]
    validation_accuracy: float | None  # of the same params, in [0, 1]; None: there was no such split
    validation_loss: float | None  # nats, likewise
    test_examples: int
    params: int
    forward_flops: int  # per image
    steps: int
    images_seen: int
    images_per_second: float | None  # that trained, compilation excluded; of all members of a population together
    train_step_flops: int | None  # of a batch, forward and backward
    flops_per_second: float | None  # what its devices achieved, likewise
    mfu: float | None  # the share of their peak that this was; None: the peak is not known
    host_gap_share: float | None  # of the time of training, in [0, 1]: the devices waited for the host, at most
    population: int  # runs that trained on these devices as one program, this one included
    processes: int  # that trained on this machine at the same time, this run's included
    cache: tuple[int, int] | None  # programs found in the compilation cache, and compiled
    kernel_fallback: str | None  # why attention's kernel was not the one asked for; None: it was
    width: dict[str, int | float]  # fields of config.model, as written or as solved; empty when unknown
    reference: tuple[str, int] | None  # one of MATCHES, and the reference arm's count; None: not solved
    train_examples: int | None
    validation_examples: int | None
    rows: tuple[int, str] | None  # bytes and SHA-256 of metrics.jsonl at the end; None: not known
    selection_split: str | None
    selection_rule: str | None
    device: str | None
    versions: str | None
    commit: str | None
    dirty: bool
    fingerprints: dict[str, str]  # of the images of each split, where it is known
    code: str | None  # what is the same for all commits that make the same numbers; None: not known
    sha256: str | None  # of the whole result, by which another of the same run is told from it
    mixed: bool  # other code, images, versions, another device or division made its first steps


@dataclass(frozen=True)
class Run:
    """One run: `status` is 'finished' or one of UNFINISHED; `detail` says why; `result` is set when finished.

    `warnings` says what was wrong with its files, a line each.
    """

    name: str
    seed: int | None
    status: str
    detail: str = ''
    config: dict | None = None
    result: Result | None = None
    warnings: tuple[str, ...] = ()

    @property
    def of_seed(self) -> str:
        """What follows the label of its arm: ', seed 0', or nothing where the seed is not known."""
        return '' if self.seed is None else f', seed {self.seed}'

    def warned(self, what: str) -> 'Run':
        return replace(self, warnings=(*self.warnings, f'{self.name}: {what}'))


def is_run(folder: Path) -> bool:
    """Whether a run left anything in `folder`."""
    try:
        return any((folder / name).exists() for name in (CONFIG, RESULT, FAILED))
    except PermissionError:
        return True  # a folder that does not open may be one: reading it says so in a warning


def read_run(folder: Path) -> Run:
    """Reads the run in `folder`, which need not be there: such a run is unfinished. Never raises for what is in it."""
    run = Run(clean(folder.name), None, 'unfinished')
    try:
        config = read_json(folder / CONFIG)
        run = replace(run, config=config, seed=seed_of(config))
    except Damaged as error:
        run = run.warned(f'config.json {error}')
    try:
        content = read_json(folder / RESULT)
        if content is not None:
            ended = _ended(run, content)
            verified(content)
            return ended
    except Damaged as error:
        run = run.warned(f'result.json {error}; the run counts as not finished')
        return replace(run, status='damaged', detail=str(error))
    try:
        content = read_json(folder / FAILED)
    except Damaged as error:
        return replace(run.warned(f'failed.json {error}'), status='failed')
    return run if content is None else replace(run, status='failed', detail=_text(content.get('error')) or '')


def config_count(run: Run, path: str) -> int | None:
    """A whole number from 0 in a run's config, by its dotted path; None when it is not there or is none."""
    return _optional_count(run.config or {}, path)


def config_number(run: Run, path: str) -> int | float | None:
    """A number from 0 in a run's config, by its dotted path; None when it is not there or is none."""
    value = _lookup(run.config, path)
    return value if _is_amount(value) else None


def config_text(run: Run, path: str) -> str | None:
    """A text in a run's config, by its dotted path; None when it is not there or is none."""
    return _text(_lookup(run.config, path))


def seed_of(config: Any) -> int | None:
    """The seed of a config, or of what stands in a file where one should; None when it holds none."""
    seed = _lookup(config, 'seed')
    return seed if is_integer(seed) else None


def _ended(run: Run, content: dict) -> Run:
    """`run` with what result.json says of it. Raises Damaged."""
    config = content.get('config')
    if not isinstance(config, dict):
        raise Damaged('has no config')
    if run.config is not None and run.config != config:
        raise Damaged("is of another config than the folder's config.json")
    run = replace(run, config=config, seed=_field(content, 'seed', is_integer, 'a whole number'))
    if seed_of(config) not in (None, run.seed):
        raise Damaged(f'has seed {run.seed}, and seed {seed_of(config)} in its config')
    status = content.get('status')
    if status == 'diverged':
        step = content.get('diverged_step')
        return replace(run, status='diverged', detail=f'at step {step}' if is_integer(step) else '')
    if status != FINISHED:
        raise Damaged(f'has status {shown(status)}')
    return replace(run, status=FINISHED, result=_result(content))


def _result(content: dict) -> Result:
    population = _optional_count(content, 'population.size') or 1
    alone = _optional_number(content, 'images_per_second')
    return Result(
        accuracy=_field(content, 'test.accuracy', lambda value: _is_amount(value) and value <= 1, 'in [0, 1]'),
        validation_accuracy=_optional_number(content, 'validation.accuracy', 1.0),
        validation_loss=_optional_number(content, 'validation.loss'),
        test_examples=_field(content, 'test.examples', lambda value: _is_count(value) and value > 0, 'from 1'),
        params=_count(content, 'params'),
        forward_flops=_count(content, 'forward_flops'),
        steps=_count(content, 'steps'),
        images_seen=_count(content, 'images_seen'),
        # Together, as FLOP/s are: a share of what a device does would make arms slow that train beside others.
        images_per_second=None if alone is None else alone * population,
        train_step_flops=_field(
            content, 'train_step_flops', lambda value: value is None or _is_count(value), 'a whole number from 0'
        ),
        flops_per_second=_optional_number(content, 'flops_per_second'),
        mfu=_optional_number(content, 'mfu'),
        host_gap_share=_optional_number(content, 'host_gap_share', 1.0),
        population=population,
        processes=_optional_count(content, 'population.processes') or 1,
        cache=_cache(content),
        kernel_fallback=_text(_lookup(content, 'kernel_fallback')),
        width=_width(content),
        reference=_reference(content),
        train_examples=_optional_count(content, 'train.examples'),
        validation_examples=_optional_count(content, 'validation.examples'),
        rows=_rows(content),
        selection_split=_text(_lookup(content, 'selection.split')),
        selection_rule=_text(_lookup(content, 'selection.rule')),
        device=describe_device(content),
        versions=_versions(content),
        commit=_text(_lookup(content, 'git.commit')),
        dirty=_lookup(content, 'git.dirty') is True,
        fingerprints=_fingerprints(content),
        code=_text(_lookup(content, 'code.sha256')),
        sha256=_text(content.get(CHECKSUM)),
        mixed=bool(_lookup(content, 'begun_by')),
    )


def _fingerprints(content: dict) -> dict[str, str]:
    found = {split: _text(_lookup(content, f'data.{split}')) for split in ('train', 'validation', 'test')}
    return {split: text for split, text in found.items() if text}


def _width(content: dict) -> dict[str, int | float]:
    values = {name: _lookup(content, f'width.{name}') for name in WIDTHS}
    return {name: value for name, value in values.items() if _is_amount(value)}


def _reference(content: dict) -> tuple[str, int] | None:
    counts = [(name, _optional_count(content, f'reference.{name}')) for name in MATCHES]
    return next(((name, count) for name, count in counts if count), None)


def _rows(content: dict) -> tuple[int, str] | None:
    size, digest = _optional_count(content, 'rows.bytes'), _text(_lookup(content, 'rows.sha256'))
    return None if size is None or digest is None else (size, digest)


def _cache(content: dict) -> tuple[int, int] | None:
    hits, misses = (_optional_count(content, f'compilation_cache.{name}') for name in ('hits', 'misses'))
    return None if hits is None or misses is None else (hits, misses)


def describe_device(content: dict) -> str | None:
    """What a result ran on, in words; None: it does not say."""
    kind = _text(_lookup(content, 'device.kind')) or _text(_lookup(content, 'device.platform'))
    count = _optional_count(content, 'device.count')
    if kind is None or count is None:
        return kind
    cpu, cores = _text(_lookup(content, 'device.cpu')), _optional_count(content, 'device.cores')
    precision = _text(_lookup(content, 'device.matmul_precision'))
    more = '' if precision is None else f' (float32 products: {precision} precision)'
    if cpu is not None and cores is not None:
        more = f' ({cpu}, {cores} core{"s" * (cores != 1)})'
    return f'{count} x {kind}{more}'


def _versions(content: dict) -> str | None:
    versions = content.get('versions')
    if not isinstance(versions, dict):
        return None
    return clean(', '.join(f'{name} {version}' for name, version in versions.items() if isinstance(version, str)))


def _field(content: dict, path: str, is_valid: Callable[[Any], bool], wanted: str) -> Any:
    value = _lookup(content, path)
    if not is_valid(value):
        raise Damaged(f'has {path}={shown(value)}, which should be {wanted}')
    return value


def _count(content: dict, path: str) -> int:
    return _field(content, path, _is_count, 'a whole number from 0')


def _optional_number(content: dict, path: str, largest: float = math.inf) -> float | None:
    def is_valid(value: Any) -> bool:
        return value is None or (_is_amount(value) and value <= largest)

    value = _field(content, path, is_valid, 'a number from 0' if largest == math.inf else f'in [0, {largest:g}]')
    return None if value is None else float(value)


def _optional_count(tree: dict, path: str) -> int | None:
    value = _lookup(tree, path)
    return value if _is_count(value) else None


def _lookup(tree: Any, path: str) -> Any:
    for key in path.split('.'):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _is_count(value: Any) -> bool:
    return is_integer(value) and value >= 0


def _is_amount(value: Any) -> bool:
    return is_number(value) and value >= 0


def _text(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) and value else None
