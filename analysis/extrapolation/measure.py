"""Accuracy beyond the trained length: images of other sizes, as more or fewer patches of the trained size.

A larger image has more tokens. Where they are is a choice, made apart from training: 'extend', they reach beyond the
trained range; 'rescale', they stand closer within it (models.patches.grid_coordinates).
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

import data
from analysis.extrapolation.options import check_resolutions
from analysis.extrapolation.scores import Extrapolation, Ready, pair_differences, summary, warnings_of
from analysis.reading import runs
from configs.errors import ConfigError
from experiment import folder
from experiment.checking.validate import validate
from files.text import clean
from models import Images, Model, Outputs, Params
from models.patches import grid_coordinates, patch_grid
from training.evaluate import compile_evaluation, evaluate
from training.saving.restore import restore_selected


def at_resolution(model: Model, side: int, trained: int, patch_size: int | None, policy: str) -> Model:
    """The model asked about square images of `side` pixels, by whoever gives it images of the `trained` side.

    Images are resized inside the program: bilinearly, antialiased where they shrink (jax.image.resize).

    Args:
      patch_size: pixels; None for a model that has no tokens, and so no coordinates to be given.
      policy: one of `options.POLICIES`.
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
    warnings = (*sweep.warnings, *warnings_of(arms, evaluated, scores))
    return Extrapolation(
        arms, evaluated, scores, summary(arms, scores), pair_differences(arms, scores, split), warnings
    )


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
                row['result'] = one.run.result.sha256
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
