"""What every replay buffer offers to algorithms.

    buffer = SequenceBuffer(capacity, sequence_length, batch_size, burn_in=0)     # or another of this folder
    state = buffer.init(step, carry, num_steps, period)     # leaves [num_envs, ...], arrays or `jax.ShapeDtypeStruct`
    state = buffer.add(state, steps, carries)               # leaves [num_envs, num_steps, ...] and [num_envs, C, ...]
    buffer.can_sample(state)                                # bool scalar
    batch = buffer.sample(key, state)                       # leaves [batch_size, window, ...]
    priorities = buffer.set_priorities(state.priorities, batch.index, priority)

The priorities are a small array apart from the storage. A round of updates carries nothing but them, so that neither a
`scan` nor a `cond` around it copies the storage:

    def update(loop, key):
        params, priorities = loop
        batch = buffer.sample(key, state.replace(priorities=priorities))
        ...
        return (params, buffer.set_priorities(priorities, batch.index, priority)), metrics

    (params, priorities), metrics = jax.lax.scan(update, (params, state.priorities), keys)
    state = state.replace(priorities=priorities)

A buffer without priorities has an empty pytree in their place, and setting them does nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from flax import struct

from memorax.buffers.storage import Layout, Storage
from memorax.types import Array, Carry, Key, PyTree
from memorax.validation import require_finite, require_not_negative, require_positive


class BufferState(struct.PyTreeNode):
    """State of a replay buffer.

    Attributes:
        storage: the steps and carries. It is donated, and written by `add` alone.
        priorities: what decides how windows are drawn, and changes with every update; empty without priorities.
        starts: where windows start, and changes with `add` alone; empty where the storage tells.
    """

    storage: Storage
    priorities: PyTree = ()
    starts: PyTree = ()


class Index(NamedTuple):
    """Which windows were drawn.

    Attributes:
        slot: place of the window's start among those of all environments, int32 `[N]`.
        generation: number of times the place had been written, uint32 `[N]`.
    """

    slot: Array
    generation: Array


class ReplayBatch(struct.PyTreeNode):
    """Windows drawn from a buffer.

    Attributes:
        steps: leaves `[batch_size, window, ...]`.
        carry: the network's carry before the first step of each window, leaves `[batch_size, ...]`.
        valid: whether a step belongs to the window and is not padding, bool `[batch_size, window]`.
        index: which windows they are, as `set_priorities` takes it.
        probability: with which each was drawn, float32 `[batch_size]`.
    """

    steps: PyTree
    carry: Carry
    valid: Array
    index: Index
    probability: Array


@dataclass(frozen=True)
class ReplayBuffer(ABC):
    """A ring of steps from which windows are drawn, with replacement.

    A window is `burn_in + sequence_length + 1` consecutive steps of one environment. The last of them is the successor
    of the one before, so that no observation need be stored twice.

    Attributes:
        capacity: steps to keep, all environments together; rounded up to whole chunks.
        sequence_length: steps to learn from in a window.
        batch_size: windows in a sample.
        burn_in: steps before them that only rebuild the carry.

    Raises:
        ValueError: if one of these is not positive (`burn_in`: negative), if the burn-in is longer than what is learned
            from, or if the capacity is below the batch size.
    """

    capacity: int
    sequence_length: int
    batch_size: int
    burn_in: int = 0

    def __post_init__(self) -> None:
        require_finite(self, "capacity", "sequence_length", "batch_size", "burn_in")
        require_positive(self, "capacity", "sequence_length", "batch_size")
        require_not_negative(self, "burn_in")
        if self.burn_in > self.sequence_length:
            raise ValueError(f"burn_in ({self.burn_in}) must not exceed sequence_length ({self.sequence_length})")
        if self.capacity < self.batch_size:
            raise ValueError(f"capacity ({self.capacity}) must be at least batch_size ({self.batch_size})")

    @property
    def window(self) -> int:
        """Steps in a window."""
        return self.burn_in + self.sequence_length + 1

    @abstractmethod
    def init(self, step: PyTree, carry: Carry, num_steps: int, period: int | None = None) -> BufferState:
        """Make an empty buffer.

        Args:
            step: one step of every environment, leaves `[num_envs, ...]`; only shapes and types are used.
            carry: the network's carry, leaves `[num_envs, ...]`; likewise.
            num_steps: steps of every environment that are added at a time.
            period: steps between two stored carries, a divisor of `num_steps` and by default equal to it. Windows of a
                network with a carry start there: with half of `sequence_length`, neighbours overlap by half.

        Raises:
            ValueError: if the sizes do not fit each other: the message says which and how.
        """

    @abstractmethod
    def add(self, state: BufferState, steps: PyTree, carries: Carry) -> BufferState:
        """Append steps, over the oldest ones where the buffer is full; in place where `state` is donated.

        Args:
            state: the buffer.
            steps: what followed the steps added before, leaves `[num_envs, num_steps, ...]`.
            carries: the network's carry before every `period`-th of these steps, leaves `[num_envs, C, ...]` with
                `C = num_steps / period`, as a rollout of sequences of `period` steps records it.

        Raises:
            ValueError: if the sizes are not those the buffer was made for.
        """

    @abstractmethod
    def num_windows(self, state: BufferState) -> Array:
        """How many windows there are to draw from: an int32 scalar."""

    @abstractmethod
    def sample(self, key: Key, state: BufferState) -> ReplayBatch:
        """Draw windows.

        Where none exists (`can_sample` is false) what comes back has the right shapes and means nothing.
        """

    def can_sample(self, state: BufferState) -> Array:
        """Whether there is a window to draw: a bool scalar."""
        return self.num_windows(state) > 0

    def set_priorities(self, priorities: PyTree, index: Index, priority: Array) -> PyTree:
        """Replace the priorities of windows that were drawn; without priorities, do nothing.

        Args:
            priorities: priorities in the buffer's state.
            index: indices of the windows, as in a `ReplayBatch`.
            priority: new priorities, float `[N]`, greater where there is more to learn.

        Returns:
            The new priorities.
        """
        return priorities


class WindowBuffer(ReplayBuffer):
    """A replay buffer that draws every window with the same probability, and tells others which there are."""

    @abstractmethod
    def legal(self, state: BufferState) -> Array:
        """Which slots a window may be drawn at, bool `[num_envs, num_slots]`."""

    @abstractmethod
    def next_slots(self, state: BufferState, num_steps: int) -> Array:
        """The slots that the next `num_steps` steps will be written to, all different, int32 `[K]`."""

    @abstractmethod
    def read(self, state: BufferState, env: Array, slot: Array) -> tuple[PyTree, Carry, Array]:
        """Read the windows at slots `[N]` of environments `[N]`: steps, carry and `valid`."""


def require_one_window(buffer: ReplayBuffer, sizes: Layout) -> None:
    """Raise a `ValueError` where a ring is too small for one window, or windows would leave steps out."""
    if sizes.num_steps < buffer.window:
        chunks = -(-buffer.window // sizes.period)
        raise ValueError(
            f"capacity ({buffer.capacity}) keeps {sizes.num_steps} steps of each of {sizes.num_envs} environments, "
            f"but one window takes {buffer.window} (burn_in + sequence_length + 1): it must be at least "
            f"{chunks * sizes.period * sizes.num_envs} (buffer_size in an algorithm's settings)"
        )
    if buffer.sequence_length < sizes.stride:
        raise ValueError(
            f"sequence_length ({buffer.sequence_length}) must be at least the number of steps between two stored "
            f"carries ({sizes.stride}): windows start where a carry was stored and would never reach the steps after "
            "them"
        )
