"""Uniform replay of sequences, each with the carry it started from.

A window lies anywhere from an environment's oldest chunk to its newest. It starts with a chunk, where the carry is
known, or at any step where there is no carry to know. It may cross the end of an episode: `done` then resets the carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from memorax.buffers.buffer import BufferState, Index, ReplayBatch, WindowBuffer, require_one_window
from memorax.buffers.storage import (
    Storage,
    append,
    count_steps,
    init_storage,
    layout,
    next_steps,
    oldest_step,
    read_carry,
    read_steps,
)
from memorax.types import Array, Carry, Key, PyTree


@dataclass(frozen=True)
class SequenceBuffer(WindowBuffer):
    """Draws sequences uniformly: see `ReplayBuffer`."""

    def init(self, step: PyTree, carry: Carry, num_steps: int, period: int | None = None) -> BufferState:
        storage = init_storage(step, carry, self.capacity, num_steps, num_steps if period is None else period)
        require_one_window(self, layout(storage))
        return BufferState(storage)

    def add(self, state: BufferState, steps: PyTree, carries: Carry) -> BufferState:
        return state.replace(storage=append(state.storage, steps, carries))

    def num_windows(self, state: BufferState) -> Array:
        return layout(state.storage).num_envs * self._count(state.storage)

    def sample(self, key: Key, state: BufferState) -> ReplayBatch:
        sizes = layout(state.storage)
        env_key, start_key = jax.random.split(key)
        shape = (self.batch_size,)
        env = jax.random.randint(env_key, shape, 0, sizes.num_envs)
        start = jax.random.randint(start_key, shape, 0, jnp.maximum(self._count(state.storage), 1))
        slot = (oldest_step(state.storage) // sizes.stride + start) % sizes.num_slots
        steps, carry, valid = self.read(state, env, slot)
        return ReplayBatch(
            steps=steps,
            carry=carry,
            valid=valid,
            index=Index(env * sizes.num_slots + slot, jnp.zeros(shape, jnp.uint32)),
            probability=jnp.broadcast_to(1.0 / jnp.maximum(self.num_windows(state), 1), shape),
        )

    def legal(self, state: BufferState) -> Array:
        sizes = layout(state.storage)
        oldest_slot = oldest_step(state.storage) // sizes.stride
        age_order = (jnp.arange(sizes.num_slots) - oldest_slot) % sizes.num_slots  # 0 is the oldest
        return jnp.broadcast_to(age_order < self._count(state.storage), (sizes.num_envs, sizes.num_slots))

    def next_slots(self, state: BufferState, num_steps: int) -> Array:
        sizes = layout(state.storage)
        return next_steps(state.storage, num_steps)[:: sizes.stride] // sizes.stride

    def read(self, state: BufferState, env: Array, slot: Array) -> tuple[PyTree, Carry, Array]:
        first = slot * layout(state.storage).stride
        steps = first[:, None] + jnp.arange(self.window)[None]  # (N, window)
        return read_steps(state.storage, env, steps), read_carry(state.storage, env, first), jnp.ones(steps.shape, bool)

    def _count(self, storage: Storage) -> Array:
        """How many windows there are in each environment: an int32 scalar, never negative."""
        return jnp.maximum((count_steps(storage) - self.window) // layout(storage).stride + 1, 0)
