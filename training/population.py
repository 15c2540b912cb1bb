"""Runs that train together as one: a leading axis of members on everything that differs between them.

A population of one has no such axis: its program is that of a single run, since XLA's convolutions are slower with
a batch of kernels than with one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec, Sharding

from training.placement import Placement


def vectorised(function: Callable[..., Any], where: Placement, axes: Sequence[int | None]) -> Callable[..., Any]:
    """`function` of all members of `where` at once, each device computing its own.

    Args:
      axes: 0 for each argument that every member has its own of, None for one that they share.
    """
    if where.size == 1:
        return function
    members = jax.vmap(function, in_axes=tuple(axes))
    if len(where.devices) == 1:
        return members
    # Left to itself, XLA divides no convolution of several members, and has every device compute all of them.
    split = where.members.spec
    shares = tuple(PartitionSpec() if axis is None else split for axis in axes)
    return jax.shard_map(members, mesh=where.members.mesh, in_specs=shares, out_specs=split, check_vma=False)


def together(members: Sequence[Any]) -> Any:
    """Trees of the same structure as one tree; what is on the host stays there, since no device need hold it all."""
    return members[0] if len(members) == 1 else jax.tree.map(_stacked, *members)


def _stacked(*leaves: Any) -> Any:
    on_host = all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
    return np.stack(leaves) if on_host else jnp.stack(leaves)


def member(tree: Any, index: int, size: int) -> Any:
    """The tree of one member."""
    return tree if size == 1 else jax.tree.map(lambda leaf: leaf[index], tree)


def abstract(tree: Any, sharding: Sharding, size: int = 1) -> Any:
    """Shapes and places of what `size` members have, each a `tree` of its own."""
    axes = () if size == 1 else (size,)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=sharding), tree)
