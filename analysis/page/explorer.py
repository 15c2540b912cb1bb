"""What the attention explorer of the page shows: who looks where, in which run, at which image, in which layer."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float
from ml_collections import ConfigDict

import data
from analysis.heads.attention import Parts, attention_parts, has_parts
from analysis.heads.rollout import pooled_rollout
from analysis.heads.trained import Load, Trained, lacks_attention, load_trained
from analysis.page import embed
from analysis.page.arms import Row
from analysis.reading import records, runs
from analysis.wording import why
from configs.errors import ConfigError
from data.spec import Split
from experiment import folder
from experiment.checking.validate import validate
from models.patches import patch_grid
from models.positions import POSITIONS, AbsolutePositions, NoPositions, overrides

IMAGES = 6  # of a run, when there is room
ROOM = 5_000_000  # characters for attention, of the 10 MB that a page may have
LEFT_OUT = 'left out to keep this page small; a report of this run alone shows it'
VIEWS = {
    'weights': 'as it is',
    'content': 'by content alone',
    'position': 'by position alone',
}


class Wanted(NamedTuple):
    """A run that could be shown."""

    row: Row
    run: records.Run
    folder: Path
    size: int  # characters for one image


def explorer(
    workdir: Path, rows: Sequence[Row], heads: pd.DataFrame | None, likeness: dict, load: Load = load_trained
) -> dict[str, Any]:
    """The data of the explorer; see page/explorer.js, which reads it.

    Args:
      heads: `analysis.heads.measure_sweep`'s, and `likeness` too, where there are any.
    Returns:
      'runs', those with maps first, the others with a 'why' in their place; 'sets' of images; names of 'views'.
    """
    wanted, without = _wanted(workdir, rows)
    chosen, images, left_out = fit(wanted)
    sets: dict[str, dict[str, Any]] = {}
    shown = []
    for one in chosen:
        about = _about(one.row, one.run)
        try:
            trained = load(one.folder)
            which = json.dumps(trained.config.data.to_dict(), sort_keys=True)
            split = typical(data.load_once(trained.config.data).test, images)
            if which not in sets:
                sets[which] = _image_set(trained, split, len(sets))
            of_run = heads[heads['run'] == one.run.name] if heads is not None else None
            alike = likeness.get(one.run.name)
            shown.append(about | _of_run(trained, split, of_run, alike) | {'set': sets[which]['number']})
        except Exception as error:  # whatever a damaged checkpoint raises, the other runs can be shown
            without.append(about | {'why': why(error)})
    without += [_about(one.row, one.run) | {'why': LEFT_OUT} for one in left_out]
    return {'runs': shown + without, 'sets': list(sets.values()), 'views': VIEWS}


def _about(row: Row, run: records.Run) -> dict[str, Any]:
    return {'name': run.name, 'arm': row.label, 'number': row.number, 'seed': run.seed}


def fit(wanted: Sequence[Wanted], room: int = ROOM) -> tuple[list[Wanted], int, list[Wanted]]:
    """The runs that fit, images of each, and the runs that do not: the first seed of every arm goes before the others.

    Two images of every arm go before more runs, and more runs before more images.
    """
    numbers = [one.row.number for one in wanted]
    is_first = [number not in numbers[:place] for place, number in enumerate(numbers)]
    images = 2 if 2 * sum(one.size for one, first in zip(wanted, is_first, strict=True) if first) <= room else 1
    chosen, each = set(), 0  # places in `wanted`, and the size of an image of all these
    for place in sorted(range(len(wanted)), key=lambda place: not is_first[place]):
        if images * (each + wanted[place].size) <= room:
            chosen.add(place)
            each += wanted[place].size
    images = max(images, min(IMAGES, room // each)) if each else images
    kept, left_out = ([one for place, one in enumerate(wanted) if (place in chosen) == keep] for keep in (True, False))
    return kept, images, left_out


def _wanted(workdir: Path, rows: Sequence[Row]) -> tuple[list[Wanted], list[dict[str, Any]]]:
    wanted, without = [], []
    for row in rows:
        for run in row.arm.runs:
            about = _about(row, run)
            if run.status != records.FINISHED:
                without.append(about | {'why': f'{run.status} {run.detail}'.strip()})
                continue
            lack = lacks_attention(run.config)
            if lack:
                without.append(about | {'why': lack})
                continue
            place = runs.folder_of(workdir, run)
            try:
                wanted.append(Wanted(row, run, place, _size(place)))
            except Exception as error:  # a config may hold anything
                without.append(about | {'why': why(error)})
    return wanted, without


def _size(place: Path) -> int:
    """Characters that one image of the run in `place` takes."""
    config = folder.read_config(place)
    spec = validate(config, to_train=False)
    tokens = math.prod(patch_grid(spec.image_shape, config.model.patch_size))
    views = 1 if lacks_parts(config.model) else len(VIEWS)
    return views * embed.packed_size((config.model.depth, config.model.num_heads, tokens, tokens))


def _of_run(
    trained: Trained, split: Split, heads: pd.DataFrame | None, likeness: Float[np.ndarray, '...'] | None
) -> dict[str, Any]:
    parts = _parts(trained, split)
    layers, number, *_ = parts.weights.shape
    views = {
        name: embed.pack(np.moveaxis(np.asarray(value, np.float32), 2, 0))  # [images or 1, layers, heads, from, to]
        for name in VIEWS
        if (value := getattr(parts, name)) is not None
    }
    names, guesses = trained.spec.class_names, np.asarray(parts.probabilities)
    rollout = np.moveaxis(pooled_rollout(parts.weights), 1, 0)  # [images, layers, tokens]
    return {
        'grid': list(trained.grid),
        'patch': trained.config.model.patch_size,
        'layers': layers,
        'heads': number,
        'step': trained.step,
        'views': views,
        'lack': lacks_parts(trained.config.model),
        'between': overrides(POSITIONS[trained.config.model.positions.name], 'between'),
        'rollout': embed.pack(rollout),
        'guesses': [[names[guess.argmax()], round(float(guess.max()), 4)] for guess in guesses],
        'table': [] if heads is None else _table(heads),
        'likeness': [] if likeness is None else np.round(likeness, 4).tolist(),
    }


def _parts(trained: Trained, split: Split) -> Parts:
    """Of all images at once: those that `fit` chose take less than a batch of heads.trained does."""
    parts = jax.device_get(attention_parts(trained, np.asarray(split.images)))
    if not np.isfinite(parts.weights).all():
        raise ConfigError('its attention weights are not finite numbers')
    return parts


def _table(heads: pd.DataFrame) -> list[list[float | None]]:
    columns = heads[['layer', 'head', 'distance_pixels', 'entropy', 'likeness', 'accuracy_lost']]
    return [[None if pd.isna(value) else round(float(value), 6) for value in row] for row in columns.to_numpy()]


def typical(split: Split, images: int) -> Split:
    """The first image of each of the first classes, so that a handful shows different things."""
    labels = np.asarray(split.labels)
    firsts = [int(np.argmax(labels == label)) for label in np.unique(labels)]
    rest = np.setdiff1d(np.arange(len(labels)), firsts)
    rows = np.concatenate([firsts, rest])[:images].astype(int)
    return Split(np.asarray(split.images[rows]), labels[rows])


def _image_set(trained: Trained, split: Split, number: int) -> dict[str, Any]:
    names = trained.spec.class_names
    return {
        'number': number,
        'name': trained.spec.name,
        'height': trained.spec.image_shape[0],
        'width': trained.spec.image_shape[1],
        'images': [
            {'png': embed.png(image), 'label': names[label]}
            for image, label in zip(split.images, split.labels, strict=True)
        ],
    }


def lacks_parts(model: ConfigDict) -> str:
    """Why the attention of `model` (an experiment's `config.model`) has no parts; '' where it has two."""
    if has_parts(model):
        return ''
    variant, name = POSITIONS[model.positions.name], model.positions.name
    if not model.positions.content:
        return 'Attention depends on position alone here (model.positions.content=False): all weights come from it.'
    if variant is NoPositions:
        return 'Without positions, attention depends on content alone.'
    if issubclass(variant, AbsolutePositions):
        return f'{name} is added to the tokens, so queries and keys mix both, and neither has a part of its own.'
    if overrides(variant, 'rotate'):
        return f'{name} rotates queries and keys, so it changes the attention by content and has no part of its own.'
    return f'{name} acts between blocks, not on the logits, so attention depends on content alone.'
