"""Prioritised replay (Schaul et al., 2016) of sequences and of episodes.

A window is drawn in proportion to `priority ** priority_exponent`. New windows have the greatest priority so far.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from memorax.buffers.buffer import BufferState, Index, ReplayBatch, ReplayBuffer, WindowBuffer
from memorax.buffers.episode_buffer import EpisodeBuffer, stored_done
from memorax.buffers.priorities import Priorities, draw, init_priorities, renew, set_weights
from memorax.buffers.sequence_buffer import SequenceBuffer
from memorax.types import Array, Carry, Key, PyTree
from memorax.validation import require_finite, require_fraction, require_positive


@dataclass(frozen=True)
class PrioritisedBuffer(ReplayBuffer):
    """Draws windows by their priorities.

    Attributes:
        priority_exponent: how much priorities count, from 0, not at all, to 1, in proportion.
        minimum_priority: lower bound of a priority, so that no window is out of reach for good.
    """

    priority_exponent: float = 0.6
    minimum_priority: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite(self, "minimum_priority")
        require_fraction(self, "priority_exponent")
        require_positive(self, "minimum_priority")

    @property
    @abstractmethod
    def windows(self) -> WindowBuffer:
        """The buffer that draws the same windows uniformly."""

    def init(self, step: PyTree, carry: Carry, num_steps: int, period: int | None = None) -> BufferState:
        state = self.windows.init(step, carry, num_steps, period)
        return state.replace(priorities=init_priorities(*jax.eval_shape(self.windows.legal, state).shape))

    def add(self, state: BufferState, steps: PyTree, carries: Carry) -> BufferState:
        slots = self.windows.next_slots(state, jax.tree.leaves(steps)[0].shape[1])
        return self.windows.add(state, steps, carries).replace(priorities=renew(state.priorities, slots))

    def num_windows(self, state: BufferState) -> Array:
        return self.windows.num_windows(state)

    def sample(self, key: Key, state: BufferState) -> ReplayBatch:
        weights = jnp.where(self.windows.legal(state), state.priorities.table, 0.0)
        drawn, probability = draw(key, weights, self.batch_size)
        env, slot = jnp.divmod(drawn, weights.shape[1])
        steps, carry, valid = self.windows.read(state, env, slot)
        index = Index(drawn, state.priorities.generation[slot])
        return ReplayBatch(steps=steps, carry=carry, valid=valid, index=index, probability=probability)

    def set_priorities(self, priorities: Priorities, index: Index, priority: Array) -> Priorities:
        """Replace the priorities of windows that were drawn.

        A priority that is not finite is not written, nor one for a window that has been overwritten since. Of several
        for one window, the greatest counts.
        """
        priority = priority.astype(jnp.float32)
        weight = jnp.maximum(priority, self.minimum_priority) ** self.priority_exponent
        return set_weights(priorities, index, jnp.where(jnp.isfinite(priority), weight, jnp.nan))


@dataclass(frozen=True)
class PrioritisedSequenceBuffer(PrioritisedBuffer):
    """Draws the windows of a `SequenceBuffer` by their priorities: see `PrioritisedBuffer`."""

    @property
    def windows(self) -> SequenceBuffer:
        return SequenceBuffer(self.capacity, self.sequence_length, self.batch_size, self.burn_in)


@dataclass(frozen=True)
class PrioritisedEpisodeBuffer(PrioritisedBuffer):
    """Draws the windows of an `EpisodeBuffer` by their priorities: see `PrioritisedBuffer`.

    Attributes:
        episode_starts: as in `EpisodeBuffer`.
    """

    episode_starts: Callable[[PyTree], Array] = stored_done

    @property
    def windows(self) -> EpisodeBuffer:
        return EpisodeBuffer(
            self.capacity, self.sequence_length, self.batch_size, self.burn_in, episode_starts=self.episode_starts
        )
