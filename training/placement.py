"""Where arrays live: on one device, or spread over several; and which devices there are.

Members of a population are spread over the devices, and so are the examples of a single run's batch: then every device
has the whole state and computes its share of the examples, and XLA adds up what they find (GSPMD, Xu et al. 2021,
arXiv:2105.04663). The program stays that of one device, with its batch and its draws of augmentation and dropout; sums
over a batch are rounded in another order, no more. Work goes to as many devices as it divides among evenly: five
members to five of eight.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from ml_collections import ConfigDict


class Placement(NamedTuple):
    """Where the arguments of a program of `size` members live."""

    size: int
    members: Sharding  # what each member has, along a leading axis where they are several
    images: Sharding  # of which each device needs all, and their labels
    rows: Sharding  # of these images, or the images themselves by step: [steps, batch, ...], or [members, steps, ...]
    batch: Sharding | None = None  # of each array of examples inside the program, by its leading axis; None: one device

    @property
    def devices(self) -> list[jax.Device]:
        """Those that share the work."""
        return sorted(self.members.device_set, key=lambda device: device.id)


def devices() -> Sequence[jax.Device]:
    """All that may be used."""
    return jax.devices()


def of(size: int, examples: int, *, only: Sequence[jax.Device] | None = None) -> Placement:
    """Where `size` members live, and the batches that they see.

    Args:
      examples: that a single run computes at once; devices share them, each as many.
      only: the devices to use; None: all.
    """
    every = devices() if only is None else only
    axis, shares = ('batch', examples) if size == 1 else ('members', size)
    count = max(count for count in range(1, len(every) + 1) if shares % count == 0)
    if count == 1:
        single = SingleDeviceSharding(every[0])
        return Placement(size, single, single, single)
    # Not jax.make_mesh, which on TPUs takes only devices that form a box: five of eight do not.
    mesh = jax.sharding.Mesh(np.array(every[:count]), (axis,), axis_types=(jax.sharding.AxisType.Auto,))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(axis))
    if size > 1:
        return Placement(size, members=split, images=whole, rows=split)
    rows = NamedSharding(mesh, PartitionSpec(None, axis))
    return Placement(size, members=whole, images=whole, rows=rows, batch=split)


def parts(config: ConfigDict) -> int:
    """The parts that a step takes its batch, or a share of it, in: `train.accumulate`, or 1 while nobody has chosen."""
    return config.train.accumulate or 1


def of_training(config: ConfigDict, size: int = 1, *, only: Sequence[jax.Device] | None = None) -> Placement:
    """Where `size` runs like `config` live while they train."""
    return of(size, config.train.batch_size // parts(config), only=only)


def shared_by_all(examples: int) -> int:
    """The smallest batch of so many examples at least that all devices share, for what can be padded."""
    return -(-examples // len(devices())) * len(devices())
