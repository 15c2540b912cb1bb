"""A population while it trains: what stays the same, and what its members score."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from data.spec import Dataset
from training.batches import Feed
from training.evaluate import evaluate_members
from training.optimiser import Rates
from training.programs import Programs
from training.recording.profile import Profile
from training.start import Start
from training.step import State
from training.track import Track


class Run(NamedTuple):
    """What stays the same while a population trains."""

    config: ConfigDict  # of its first member; the others differ in what their tracks know
    dataset: Dataset
    programs: Programs
    feed: Feed
    keys: jax.Array
    rates: Rates
    tracks: list[Track]
    steps: int
    begun: Start
    profile: Profile

    @property
    def size(self) -> int:
        return len(self.tracks)


def score(run: Run, state: State, split: str, between: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """What each member scores on a split: training.evaluate.evaluate_members."""
    size, classes = run.config.train.eval_batch_size, run.dataset.spec.num_classes
    program, images = run.programs.evaluation_step, getattr(run.dataset, split)
    return evaluate_members(program, state.params, images, size, classes, run.size, between)
