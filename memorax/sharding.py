"""Lays what belongs to one agent over several devices, where its program is traced for them."""

from __future__ import annotations

import jax
from jax.sharding import PartitionSpec

from memorax.types import Array, PyTree

ENVIRONMENTS = "environments"
"""The axis of the mesh over which one agent's environments and minibatches are spread."""


def spread_over_devices(tree: PyTree, axis: int = 0) -> PyTree:
    """Lay an axis of leaves over the devices that train one agent.

    Nothing is changed but where it is computed; and nothing at all where one device trains the agent, or where the
    devices do not divide the axis.

    Args:
        tree: arrays; `axis` counts environments or sequences.
        axis: the axis.
    """
    size = dict(jax.sharding.get_abstract_mesh().shape).get(ENVIRONMENTS, 1)
    if size == 1:
        return tree
    spec = PartitionSpec(*[None] * axis, ENVIRONMENTS)

    def spread(leaf: Array) -> Array:
        divided = leaf.ndim > axis and leaf.shape[axis] % size == 0
        return jax.lax.with_sharding_constraint(leaf, spec) if divided else leaf

    return jax.tree.map(spread, tree)
