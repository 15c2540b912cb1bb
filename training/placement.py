"""Where arrays live: on one device, or spread over all of them; and which devices and cores there are.

Members of a population are spread over the devices, and so are the examples of a single run's batch: then every device
has the whole state and computes its share of the examples, and XLA adds up what they find (GSPMD, Xu et al. 2021,
arXiv:2105.04663). The program stays that of one device, with its batch and its draws of augmentation and dropout; sums
over a batch are rounded in another order, no more. What does not divide evenly stays on the first device.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from ml_collections import ConfigDict

from configs import base


class Placement(NamedTuple):
    """Where the arguments of a program of `size` members live."""

    size: int
    members: Sharding  # what each member has, along a leading axis where they are several
    images: Sharding  # those that the program is handed, and their labels
    rows: Sharding  # of these images: [steps, batch], or [members, steps, batch]
    batch: Sharding | None = None  # of each array of examples inside the program, by its leading axis; None: one device

    @property
    def devices(self) -> list[jax.Device]:
        """Those that share the work."""
        return sorted(self.members.device_set, key=lambda device: device.id)


def cores_allowed() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else list(range(os.cpu_count() or 1))


def devices() -> Sequence[jax.Device]:
    """All that may be used."""
    return jax.devices()


def of(size: int, examples: int, *, resident: bool = False, only: Sequence[jax.Device] | None = None) -> Placement:
    """Where `size` members live, and the batches that they see.

    Args:
      examples: that a single run computes at once; they are shared if each device gets as many.
      resident: whether the images handed in are all there are rather than a batch, so that each device needs them all.
      only: the devices to use; None: all.
    """
    every = devices() if only is None else only
    count, axis = len(every), 'batch' if size == 1 else 'members'
    if count == 1 or (examples if size == 1 else size) % count:
        single = SingleDeviceSharding(every[0])
        return Placement(size, single, single, single)
    mesh = jax.make_mesh((count,), (axis,), axis_types=(jax.sharding.AxisType.Auto,), devices=every)
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(axis))
    if size > 1:
        return Placement(size, members=split, images=whole, rows=split)
    rows = NamedSharding(mesh, PartitionSpec(None, axis))
    return Placement(size, members=whole, images=whole if resident else split, rows=rows, batch=split)


def of_training(
    config: ConfigDict, size: int = 1, *, resident: bool = True, only: Sequence[jax.Device] | None = None
) -> Placement:
    """`of` the training of `size` runs like `config`."""
    return of(size, config.train.batch_size // base.parts(config), resident=resident, only=only)
