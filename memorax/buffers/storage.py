"""The ring in which replay buffers keep their steps, and how a window of it is read.

The steps of every environment are kept as *chunks* of `period` consecutive steps, each with the network's carry before
its first step: steps `[num_envs, num_chunks, period, ...]` beside carries `[num_envs, num_chunks, ...]`, in a ring of
flashbax's. A chunk is written as a whole and never torn.

Windows start with a chunk, where the carry is known, or at any step where there is no carry to know (its pytree is
empty). The places of the ring where a window may start are its *slots*, numbered in the order of memory:
`num_chunks`, or `num_chunks * period` without a carry.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flashbax.buffers import trajectory_buffer
from flax import struct

from memorax.types import Array, Carry, PyTree

Storage: TypeAlias = trajectory_buffer.TrajectoryBufferState
"""`experience`, a `Chunk` of leaves `[num_envs, num_chunks, ...]`; `current_index`, the next chunk's; `is_full`."""


class Chunk(struct.PyTreeNode):
    """Steps that follow one another, and what preceded them.

    Attributes:
        steps: leaves `[..., period, ...]`.
        carry: the network's carry before the first step, leaves `[..., ...]`.
    """

    steps: PyTree
    carry: Carry


class Layout(NamedTuple):
    """Sizes of a ring.

    Attributes:
        num_envs: environments.
        num_chunks: chunks kept of each.
        period: steps in a chunk.
        stride: steps between two slots.
    """

    num_envs: int
    num_chunks: int
    period: int
    stride: int

    @property
    def num_steps(self) -> int:
        """Steps kept of each environment."""
        return self.num_chunks * self.period

    @property
    def num_slots(self) -> int:
        """Slots of each environment."""
        return self.num_steps // self.stride


def layout(storage: Storage) -> Layout:
    """The sizes of a ring, read from its shapes."""
    num_envs, num_chunks, period = jax.tree.leaves(storage.experience.steps)[0].shape[:3]
    has_carry = bool(jax.tree.leaves(storage.experience.carry))
    return Layout(num_envs, num_chunks, period, period if has_carry else 1)


def init_storage(step: PyTree, carry: Carry, capacity: int, num_steps: int, period: int) -> Storage:
    """Make an empty ring.

    Args:
        step: one step of every environment, leaves `[num_envs, ...]`; only shapes and types are used.
        carry: the network's carry, leaves `[num_envs, ...]`; likewise.
        capacity: steps to keep, all environments together; rounded up to whole chunks.
        num_steps: steps of every environment that are added at a time.
        period: steps between two stored carries.

    Raises:
        ValueError: if the period does not divide the steps added at a time, or if these exceed the capacity.
    """
    num_envs = jax.tree.leaves(step)[0].shape[0]
    if period < 1 or num_steps % period:
        raise ValueError(f"period ({period}) must divide the number of steps added at a time ({num_steps})")
    num_chunks = math.ceil(capacity / (num_envs * period))
    if num_chunks * period < num_steps:
        raise ValueError(
            f"capacity ({capacity}) must be at least {num_envs * num_steps}, the steps added at a time: "
            f"{num_steps} of each of {num_envs} environments (buffer_size in an algorithm's settings)"
        )

    def repeat(x: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((period, *x.shape[1:]), x.dtype)

    first_carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), carry)
    return trajectory_buffer.init(Chunk(jax.tree.map(repeat, step), first_carry), num_envs, num_chunks)


def append(storage: Storage, steps: PyTree, carries: Carry) -> Storage:
    """Write the chunks that follow, over the oldest ones where the ring is full.

    Args:
        storage: the ring; written in place where it is donated.
        steps: what followed the steps written before, leaves `[num_envs, C * period, ...]`.
        carries: the network's carry before each chunk, leaves `[num_envs, C, ...]`.

    Raises:
        ValueError: if the steps are not whole chunks or the carries not as many as the chunks.
    """
    num_steps, sizes = jax.tree.leaves(steps)[0].shape[1], layout(storage)
    period = sizes.period
    if num_steps % period or num_steps > sizes.num_steps:
        raise ValueError(
            f"steps ({num_steps} per environment) must be a multiple of {period}, the period the buffer was made for, "
            f"and no more than the {sizes.num_steps} it keeps"
        )
    num_carries = {x.shape[1] for x in jax.tree.leaves(carries)}
    if not num_carries <= {num_steps // period}:
        raise ValueError(
            f"carries ({min(num_carries)} per environment) must be one for every {period} of the {num_steps} steps: "
            f"{num_steps // period}"
        )
    chunks = jax.tree.map(lambda x: x.reshape(x.shape[0], x.shape[1] // period, period, *x.shape[2:]), steps)
    return trajectory_buffer.add(storage, Chunk(chunks, carries))


def count_steps(storage: Storage) -> Array:
    """How many steps of each environment are written: an int32 scalar."""
    sizes = layout(storage)
    return jnp.where(storage.is_full, sizes.num_steps, storage.current_index * sizes.period)


def oldest_step(storage: Storage) -> Array:
    """Where in the ring the oldest step is: an int32 scalar."""
    return jnp.where(storage.is_full, storage.current_index * layout(storage).period, 0)


def next_steps(storage: Storage, num_steps: int) -> Array:
    """Where in the ring the next `num_steps` steps will be written, int32 `[num_steps]`."""
    sizes = layout(storage)
    return (storage.current_index * sizes.period + jnp.arange(num_steps)) % sizes.num_steps


def read_steps(storage: Storage, env: Array, steps: Array) -> PyTree:
    """Read steps of a ring.

    Args:
        storage: the ring.
        env: environment of each window, int `[N]`.
        steps: steps of each window, counted from the beginning of the ring and going around it, int `[N, window]`.

    Returns:
        Leaves `[N, window, ...]`.
    """
    sizes = layout(storage)
    chunk, offset = jnp.divmod(steps, sizes.period)
    chunk = chunk % sizes.num_chunks
    return jax.tree.map(lambda x: x[env[:, None], chunk, offset], storage.experience.steps)


def read_carry(storage: Storage, env: Array, step: Array) -> Carry:
    """Read the carries stored with the chunks in which the steps `[N]` of environments `[N]` lie."""
    sizes = layout(storage)
    chunk = step // sizes.period % sizes.num_chunks
    return jax.tree.map(lambda x: x[env, chunk], storage.experience.carry)
