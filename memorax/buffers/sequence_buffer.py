"""Uniform replay of whole sequences, each with the carry it started from.

    buffer = SequenceBuffer(capacity, sequence_length, batch_size, burn_in=0)
    state = buffer.init(step, carry, num_steps)     # leaves [num_envs, ...], arrays or `jax.ShapeDtypeStruct`
    state = buffer.add(state, steps, carry)         # leaves [num_envs, num_steps, ...] and [num_envs, ...]
    buffer.can_sample(state)                        # bool scalar
    steps, carry = buffer.sample(key, state)        # leaves [batch_size, window, ...] and [batch_size, ...]

The `num_steps` consecutive steps of every environment that are added at a time make a *chunk*. Chunks are kept in a
ring of flashbax's, steps `[num_envs, chunks, num_steps, ...]` beside the carries before them `[num_envs, chunks, ...]`;
one is written as a whole and never torn.

A *window* is `burn_in + sequence_length + 1` consecutive steps of one environment, anywhere from its oldest chunk to
its newest. The last of them is the successor of the one before, so that no observation need be stored twice. A window
starts with a chunk, where the carry is known, or at any step where there is no carry to know (its pytree is empty).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flashbax.buffers import trajectory_buffer
from flax import struct

from memorax.types import Array, Carry, Key, PyTree
from memorax.validation import require_not_negative, require_positive

BufferState: TypeAlias = trajectory_buffer.TrajectoryBufferState
"""`experience`, a `Chunk` of leaves `[num_envs, chunks, ...]`; `current_index`, the chunk written next; `is_full`."""


@struct.dataclass
class Chunk:
    """Steps that follow one another, and what preceded them.

    Attributes:
        steps: leaves `[..., num_steps, ...]`.
        carry: the network's carry before the first step, leaves `[..., ...]`.
    """

    steps: PyTree
    carry: Carry


class ReplayBatch(NamedTuple):
    """Windows drawn from a buffer.

    Attributes:
        steps: leaves `[batch_size, window, ...]`.
        carry: the network's carry before the first step of each window, leaves `[batch_size, ...]`.
    """

    steps: PyTree
    carry: Carry


@dataclass(frozen=True)
class SequenceBuffer:
    """A ring of steps from which windows are drawn uniformly, with replacement.

    Attributes:
        capacity: steps to keep, all environments together; rounded up to whole chunks.
        sequence_length: steps to learn from in a window.
        batch_size: windows in a sample.
        burn_in: steps before them that only rebuild the carry.

    Raises:
        ValueError: if one of these is not positive (`burn_in`: negative).
    """

    capacity: int
    sequence_length: int
    batch_size: int
    burn_in: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "capacity", "sequence_length", "batch_size")
        require_not_negative(self, "burn_in")

    @property
    def window(self) -> int:
        """Steps in a window."""
        return self.burn_in + self.sequence_length + 1

    def init(self, step: PyTree, carry: Carry, num_steps: int) -> BufferState:
        """An empty buffer.

        Args:
            step: one step of every environment, leaves `[num_envs, ...]`; only shapes and types are used.
            carry: the network's carry, leaves `[num_envs, ...]`; likewise.
            num_steps: steps of every environment that are added at a time.

        Raises:
            ValueError: if the capacity does not suffice for one window, or if windows, which start where a carry was
                stored, would never reach the later steps of a chunk.
        """
        num_envs = jax.tree.leaves(step)[0].shape[0]
        num_chunks = math.ceil(self.capacity / (num_envs * num_steps))
        if num_chunks * num_steps < self.window:
            enough = math.ceil(self.window / num_steps) * num_steps * num_envs
            raise ValueError(
                f"capacity ({self.capacity}) keeps {num_chunks * num_steps} steps of each of {num_envs} environments, "
                f"but one window takes {self.window} (burn_in + sequence_length + 1): it must be at least {enough}"
            )
        if jax.tree.leaves(carry) and self.sequence_length < num_steps:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) must be at least the number of steps added at a time "
                f"({num_steps}): windows start where a carry was stored and would never reach the steps after them"
            )

        def repeat(x: Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((num_steps, *x.shape[1:]), x.dtype)

        first_carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), carry)
        return trajectory_buffer.init(Chunk(jax.tree.map(repeat, step), first_carry), num_envs, num_chunks)

    def add(self, state: BufferState, steps: PyTree, carry: Carry) -> BufferState:
        """Append a chunk, over the oldest one where the buffer is full; in place where `state` is donated.

        Args:
            state: the buffer.
            steps: what followed the steps added before, leaves `[num_envs, num_steps, ...]`.
            carry: the network's carry before the first of these steps, leaves `[num_envs, ...]`.

        Raises:
            ValueError: if `num_steps` is not what the buffer was made for.
        """
        num_steps, expected = jax.tree.leaves(steps)[0].shape[1], _layout(state).num_steps
        if num_steps != expected:
            raise ValueError(
                f"steps ({num_steps} per environment) must be as many as the buffer was made for, {expected}"
            )
        return trajectory_buffer.add(state, jax.tree.map(lambda x: x[:, None], Chunk(steps, carry)))

    def can_sample(self, state: BufferState) -> Array:
        """Whether there is a window to draw: a bool scalar."""
        return count_starts(state, self.window) > 0

    def sample(self, key: Key, state: BufferState) -> ReplayBatch:
        """Draw windows, each that exists as likely as any other.

        Where none exists (`can_sample` is false) what comes back has the right shapes and means nothing: zeros, where
        nothing has been written.
        """
        env_key, start_key = jax.random.split(key)
        shape = (self.batch_size,)
        env = jax.random.randint(env_key, shape, 0, _layout(state).num_envs)
        start = jax.random.randint(start_key, shape, 0, jnp.maximum(count_starts(state, self.window), 1))
        return read_windows(state, env, start, self.window)


class _Layout(NamedTuple):
    """What the shapes of a buffer say.

    Attributes:
        num_envs: environments.
        num_chunks: chunks kept of each.
        num_steps: steps in a chunk.
        stride: steps between two legal starts of a window.
    """

    num_envs: int
    num_chunks: int
    num_steps: int
    stride: int


def _layout(state: BufferState) -> _Layout:
    num_envs, num_chunks, num_steps = jax.tree.leaves(state.experience.steps)[0].shape[:3]
    has_carry = bool(jax.tree.leaves(state.experience.carry))
    return _Layout(num_envs, num_chunks, num_steps, num_steps if has_carry else 1)


def count_starts(state: BufferState, window: int) -> Array:
    """How many windows of `window` steps there are in each environment: an int32 scalar, never negative."""
    layout = _layout(state)
    written_chunks = jnp.where(state.is_full, layout.num_chunks, state.current_index)
    last_start = written_chunks * layout.num_steps - window  # in steps from the oldest one
    return jnp.maximum(last_start // layout.stride + 1, 0)


def read_windows(state: BufferState, env: Array, start: Array, window: int) -> ReplayBatch:
    """Read windows.

    Args:
        state: the buffer.
        env: whose windows, int `[N]`.
        start: which ones, numbered from the oldest, below `count_starts(state, window)`, int `[N]`.
        window: steps in a window.

    Returns:
        The windows, leaves `[N, window, ...]`, and the carries before them, `[N, ...]`.
    """
    layout = _layout(state)
    oldest_chunk = jnp.where(state.is_full, state.current_index, 0)
    first = oldest_chunk * layout.num_steps + start * layout.stride  # (N,), steps along the ring
    steps = first[:, None] + jnp.arange(window)[None]  # (N, window)
    chunk, offset = jnp.divmod(steps, layout.num_steps)
    chunk = chunk % layout.num_chunks
    return ReplayBatch(
        steps=jax.tree.map(lambda x: x[env[:, None], chunk, offset], state.experience.steps),
        carry=jax.tree.map(lambda x: x[env, chunk[:, 0]], state.experience.carry),
    )
