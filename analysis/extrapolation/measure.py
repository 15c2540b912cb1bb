"""Accuracy beyond the trained length: images of other sizes, as more or fewer patches of the trained size.

A larger image has more tokens. Where they are is a choice, made apart from training: 'extend', they reach beyond the
trained range; 'rescale', they stand closer within it (models.patches.grid_coordinates).
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pandas as pd
from ml_collections import ConfigDict

import data
from analysis import pairs, statistics
from analysis.reading import records, runs
from analysis.wording import distinct
from configs.errors import ConfigError
from data.spec import Spec
from experiment import folder
from experiment.validate import validate
from files.text import clean
from models import Images, Model, Outputs, Params
from models.patches import grid_coordinates, patch_grid
from training.evaluate import compile_evaluation, evaluate
from training.restore import restore_selected

POLICIES = {
    'extend': 'patches keep the trained spacing, and larger images reach beyond the trained range',
    'rescale': 'patches fill the trained range, whatever the size of the image',
}


PAIR = ('policy', 'arm', 'against', 'resolution', 'difference', 'low', 'high', 'n', 'p_value')  # columns of pairs
MOST_TOKENS = 16_384  # of an image; attention weights of one head are then a gigabyte
MOST_PIXELS = 4_096  # of a side


class Ready(NamedTuple):
    """A finished run whose config this code can build."""

    run: records.Run
    folder: Path
    config: ConfigDict
    spec: Spec

    @property
    def side(self) -> int:
        """Pixels of the images that it was trained on."""
        return self.spec.image_shape[0]

    @property
    def has_tokens(self) -> bool:
        return self.config.model.name == 'backbone'

    def patches(self, side: int) -> int:
        """In an image of `side` x `side` pixels; tokens, where the model has any."""
        return math.prod(patch_grid((side, side), self.config.model.patch_size))


class Extrapolation(NamedTuple):
    """What was measured. Accuracies are fractions in [0, 1]."""

    arms: tuple[runs.Arm, ...]  # runs that could not be evaluated count as damaged
    evaluated: tuple[tuple[Ready, ...], ...]  # the runs of each arm that were
    scores: pd.DataFrame  # a row per run, policy and resolution; patches are those of an image, tokens or not
    summary: pd.DataFrame  # a row per policy, arm and resolution: mean and interval over seeds
    pairs: pd.DataFrame  # a row per policy, pair that the sweep asks to compare, and resolution
    warnings: tuple[str, ...]


def parse_resolutions(texts: Sequence[str]) -> list[int]:
    """Whole numbers from 1, ascending, each once. Raises ConfigError."""
    try:
        sides = sorted({int(text) for text in texts})
    except ValueError:
        sides = []
    if not sides or sides[0] < 1:
        raise ConfigError(f'--resolutions={",".join(texts)}: sides in pixels would do, such as --resolutions=28,56')
    return sides


def parse_policies(names: Sequence[str] | None) -> list[str]:
    """Some of POLICIES, each once; None means all. Raises ConfigError."""
    policies = list(dict.fromkeys(POLICIES if names is None else names))
    if not policies or not set(policies) <= POLICIES.keys():
        raise ConfigError(f'--coordinates={",".join(policies)}: {", ".join(POLICIES)} or {",".join(POLICIES)} would do')
    return policies


def check_resolutions(ready: Sequence[Ready], sides: Sequence[int]) -> None:
    """Raises ConfigError when images of a side cannot be made, or not cut into the patches of every run."""
    for one in ready:
        height, width, _ = one.spec.image_shape
        if height != width:
            raise ConfigError(
                f'--resolutions are of squares, and {one.spec.name} images are {height} x {width} pixels; '
                'runs trained with data.image_size set would do'
            )
    sizes = sorted({one.config.model.patch_size for one in ready if one.has_tokens})
    multiple = math.lcm(*sizes)
    most = max((one.patches(sides[-1]) for one in ready if one.has_tokens), default=0)
    if most > MOST_TOKENS:
        raise ConfigError(
            f'--resolutions={sides[-1]} makes {most:,} tokens of an image; sizes with {MOST_TOKENS:,} or fewer would do'
        )
    if sides[-1] > MOST_PIXELS:
        raise ConfigError(f'--resolutions={sides[-1]} is more than {MOST_PIXELS:,} pixels; that or fewer would do')
    # A ResNet has no patches; the figure counts its images in them.
    largest = max((one.config.model.patch_size for one in ready if not one.has_tokens), default=1)
    if sides[0] < largest:
        raise ConfigError(f'--resolutions={sides[0]} is less than model.patch_size={largest}; that or more would do')
    for side in sides:
        if side % multiple:
            fitting = sorted({side // multiple * multiple or multiple, (side // multiple + 1) * multiple})
            raise ConfigError(
                f'--resolutions={side} is no multiple of model.patch_size={" and ".join(map(str, sizes))}; '
                f'{" or ".join(map(str, fitting))} would do'
            )


def at_resolution(model: Model, side: int, trained: int, patch_size: int | None, policy: str) -> Model:
    """The model asked about square images of `side` pixels, by whoever gives it images of the `trained` side.

    Images are resized inside the program: bilinearly, antialiased where they shrink (jax.image.resize).

    Args:
      patch_size: pixels; None for a model that has no tokens, and so no coordinates to be given.
      policy: one of POLICIES.
    """
    if side == trained:
        return model
    coordinates = None
    if patch_size is not None:
        grid, trained_grid = (patch_grid((size, size), patch_size) for size in (side, trained))
        coordinates = grid_coordinates(grid, trained_grid, policy)

    def apply(params: Params, images: Images, **more: Any) -> Outputs:
        shape = (images.shape[0], side, side, images.shape[-1])
        resized = jax.image.resize(jnp.asarray(images, jnp.float32), shape, 'linear', antialias=True)
        return model.apply(params, resized, coordinates=coordinates, **more)

    return model._replace(apply=apply)


def measure(workdir: Path, sides: Sequence[int], policies: Sequence[str], split: str = 'test') -> Extrapolation:
    """Evaluates every finished run in `workdir` on `split`, with images of each of `sides`, under each of `policies`.

    Raises:
      ConfigError: the folder holds no run that can be evaluated, or a side does not fit the runs.
    """
    sweep = runs.read(workdir)
    troubles: dict[str, str] = {}  # by run, why it could not be evaluated
    ready = [_ready(workdir, arm, troubles) for arm in sweep.arms]
    check_resolutions([one for of_arm in ready for one in of_arm], sides)
    rows = []
    for number, (arm, of_one) in enumerate(zip(sweep.arms, ready, strict=True), start=1):
        print(f'{number} of {len(ready)}: {arm.label}, runs to evaluate: {len(of_one)}', file=sys.stderr, flush=True)
        rows += [{'arm': arm.label} | row for row in _evaluate(of_one, sides, policies, split, troubles)]
    if not rows:
        why = next((f'{name}: {trouble}' for name, trouble in troubles.items()), 'none is finished')
        raise ConfigError(f'--workdir={workdir}: no run can be evaluated ({why})')
    scores = pd.DataFrame(rows).astype({'tokens': 'Int64', 'seed': 'Int64'})
    arms = tuple(_without(arm, troubles) for arm in sweep.arms)
    evaluated = tuple(tuple(one for one in of_arm if one.run.name not in troubles) for of_arm in ready)
    warnings = (*sweep.warnings, *_warnings(arms, evaluated, scores))
    return Extrapolation(arms, evaluated, scores, _summary(arms, scores), _pairs(arms, scores, split), warnings)


def of_arm(scores: pd.DataFrame, arm: runs.Arm) -> pd.DataFrame:
    """The rows of an arm's runs; its label need not be its own."""
    return scores[scores['run'].isin([run.name for run in arm.runs])]


def image_sets(arms: Sequence[runs.Arm], scores: pd.DataFrame, split: str) -> list[list[pairs.TestSet]]:
    """What the runs of each arm were evaluated on, each once."""
    return [
        [
            (name, examples, images)
            for name, _, images in of_one
            for examples in distinct(of_arm(scores, arm)['examples'])
        ]
        for arm, of_one in zip(arms, pairs.test_sets(arms, split), strict=True)
    ]


def _ready(workdir: Path, arm: runs.Arm, troubles: dict[str, str]) -> list[Ready]:
    """The arm's finished runs; those whose config or data cannot be used go into `troubles`."""
    ready = []
    for run in arm.finished:
        place = runs.folder_of(workdir, run)
        try:
            config = folder.read_config(place)
            ready.append(Ready(run, place, config, validate(config, to_train=False)))
        except ConfigError as error:
            troubles[run.name] = str(error)
    return ready


def _evaluate(
    ready: Sequence[Ready], sides: Sequence[int], policies: Sequence[str], split: str, troubles: dict[str, str]
) -> list[dict[str, Any]]:
    """A row per run of one arm, policy and side. Runs that cannot be restored go into `troubles`."""
    restored = []
    for one in ready:
        try:
            restored.append((one, *restore_selected(one.config, one.spec, one.folder)))
        except Exception as error:  # whatever a damaged checkpoint raises, the other runs can be evaluated
            troubles[one.run.name] = clean(f'{type(error).__name__}: {error}')
    if not restored:
        return []
    first, model, *_ = restored[0]
    reads_coordinates = first.has_tokens and first.config.model.positions.name != 'none'
    seeds = [(one, params) for one, _, params, _ in restored]
    rows = []
    for side in sides:
        scores: list[dict[str, Any]] = []
        for policy in policies:
            # Where a policy changes nothing, all have the first one's scores.
            if not scores or (reads_coordinates and side != first.side):
                scores = _scores(seeds, model, side, policy, split)
            for (one, _, _, step), score in zip(restored, scores, strict=True):
                tokens = one.patches(side) if one.has_tokens else None
                row = {'policy': policy, 'run': one.run.name, 'seed': one.run.seed, 'resolution': side}
                row |= {'tokens': tokens, 'patches': one.patches(side), 'trained_patches': one.patches(one.side)}
                rows.append(row | {'split': split, 'step': step} | score)
    return rows


def _scores(
    seeds: Sequence[tuple[Ready, Params]], model: Model, side: int, policy: str, split: str
) -> list[dict[str, Any]]:
    """What the runs of an arm score at one side: one program for all of them."""
    first, params = seeds[0]
    config = first.config.copy_and_resolve_references()
    # Attention weights grow with the square of the tokens: about what fitted in memory at the trained side.
    batch_size = max(1, int(config.train.eval_batch_size * min(1.0, (first.side / side) ** 4)))
    config.train.eval_batch_size = batch_size
    patch_size = config.model.patch_size if first.has_tokens else None
    asked = at_resolution(model, side, first.side, patch_size, policy)
    program = compile_evaluation(config, first.spec, asked, params)
    scores = []
    for one, params in seeds:
        images = getattr(data.load_once(one.config.data), split)
        score = evaluate(program, params, images, batch_size, one.spec.num_classes)
        scores.append({name: score[name] for name in ('accuracy', 'loss', 'examples')})
    return scores


def _without(arm: runs.Arm, troubles: dict[str, str]) -> runs.Arm:
    """The arm, where runs in `troubles` are not finished but damaged."""
    replaced = (
        dataclasses.replace(run, status='damaged', detail=troubles[run.name], result=None)
        if run.name in troubles
        else run
        for run in arm.runs
    )
    return dataclasses.replace(arm, runs=tuple(replaced))


def _summary(arms: Sequence[runs.Arm], scores: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for policy, of_policy in scores.groupby('policy', sort=False):
        for arm in arms:
            for side in sorted(scores['resolution'].unique()):
                here = of_arm(of_policy[of_policy['resolution'] == side], arm)
                interval = statistics.mean_and_interval(here['accuracy'].to_list(), arm.complete)
                row = {'policy': policy, 'arm': arm.label, 'resolution': side}
                row |= {'tokens': here['tokens'].iloc[0] if len(here) else pd.NA, 'split': scores['split'].iloc[0]}
                row |= {'accuracy': interval.mean, 'low': interval.low, 'high': interval.high, 'n': interval.count}
                rows.append(row | {'runs': len(arm.runs)} | arm.unfinished)
    return pd.DataFrame(rows).astype({'tokens': 'Int64'})


def _pairs(arms: Sequence[runs.Arm], scores: pd.DataFrame, split: str) -> pd.DataFrame:
    """The differences of pairs, tested as in the table of a sweep; a resolution is a family of tests."""
    rows = []
    sets = image_sets(arms, scores, split)
    for side, here in scores.groupby('resolution', sort=False):
        by_policy = {
            policy: [dict(of_arm(of_policy, arm)[['seed', 'accuracy']].values.tolist()) for arm in arms]
            for policy, of_policy in here.groupby('policy', sort=False)
        }
        rows.append(pairs.compare(arms, sets, by_policy).assign(resolution=side))
    return pd.concat(rows).rename(columns={'condition': 'policy'})[[*PAIR]]


def _warnings(arms: Sequence[runs.Arm], evaluated: Sequence[Sequence[Ready]], scores: pd.DataFrame) -> list[str]:
    """The runs that are in no mean, and those whose accuracy is not what training reported."""
    warnings = []
    for arm, ready in zip(arms, evaluated, strict=True):
        for run in arm.runs:
            if run.status != records.FINISHED:
                why = f' ({run.detail})' if run.detail else ''
                warnings.append(f'{run.name} ({arm.label}{run.of_seed}) is {run.status}{why} and in none of the means')
        for one in ready:
            here = scores[(scores['run'] == one.run.name) & (scores['resolution'] == one.side)]
            for score in here[here['split'] == 'test'].head(1)['accuracy']:
                if score != one.run.result.accuracy:
                    warnings.append(
                        f'{one.run.name} ({arm.label}) has {score:.4%} on the test set at the trained resolution, but '
                        f'{one.run.result.accuracy:.4%} in its result.json (another device or version?)'
                    )
    return warnings
