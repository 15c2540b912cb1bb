"""What of a model decides how its program is best run, so that whoever runs it needs no variant's name."""

from typing import NamedTuple

from ml_collections import ConfigDict

from models.mixers import MIXERS
from models.positions import POSITIONS


class Traits(NamedTuple):
    """Of a model's program."""

    convolves: bool  # pixels or tokens meet in a convolution across channels
    keeps_barriers: bool  # it says by optimisation barriers what is worth an array of its own


def traits(config: ConfigDict) -> Traits:
    """The traits of the model that `config` (an experiment's `config.model`) describes."""
    if config.name == 'resnet':
        return Traits(convolves=True, keeps_barriers=True)
    mixer = MIXERS[config.mixer]
    return Traits(
        convolves=mixer.convolves,
        keeps_barriers=(
            mixer.keeps_barriers
            or POSITIONS[config.positions.name].keeps_barriers
            or config.remat  # XLA would see what rematerialisation repeats
        ),
    )
