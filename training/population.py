"""Runs that train together as one: a leading axis of members on everything that differs between them.

A population of one has no such axis: its program is that of a single run, since XLA's convolutions are slower with
a batch of kernels than with one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding


def vectorised(function: Callable[..., Any], size: int, axes: Sequence[int | None]) -> Callable[..., Any]:
    """`function` of `size` members at once; `axes` says where each argument has its members, None: it has none."""
    return function if size == 1 else jax.vmap(function, in_axes=tuple(axes))


def together(members: Sequence[Any]) -> Any:
    """Trees of the same structure as one tree."""
    return members[0] if len(members) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def member(tree: Any, index: int, size: int) -> Any:
    """The tree of one member."""
    return tree if size == 1 else jax.tree.map(lambda leaf: leaf[index], tree)


def shardings(size: int) -> tuple[Sharding, Sharding]:
    """Where members live, and where what they share does: spread over all devices if each gets as many, else on one."""
    devices = jax.devices()
    if len(devices) == 1 or size % len(devices):
        single = SingleDeviceSharding(devices[0])
        return single, single
    mesh = jax.make_mesh((len(devices),), ('members',), axis_types=(jax.sharding.AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec('members')), NamedSharding(mesh, PartitionSpec())


def abstract(tree: Any, size: int, *, shared: bool = False) -> Any:
    """Shapes and places of what `size` members have, each a `tree` of its own; or, where `shared`, one for them all."""
    own, common = shardings(size)
    axes = () if shared or size == 1 else (size,)
    sharding = common if shared else own
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding), tree)


def place(tree: Any, size: int) -> Any:
    """Puts what members have, already stacked, where they live."""
    return jax.device_put(tree, shardings(size)[0])
