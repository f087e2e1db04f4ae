"""Uniform replay of episodes, padded to one length.

A window holds steps of one episode. It learns from the episode's first step on, up to `sequence_length` steps. A longer
episode goes on in further windows, which start with the carries that were stored along the way, so that every step is
learned from in some window. An episode that is no longer than `sequence_length` is in one window alone.

    burn_in = 2, sequence_length = 4, an episode of three steps 0 1 2, followed by another that starts with 0':
        steps  0 0 0 1 2 0' 0'
        valid  . . 1 1 1 .  .

What is not `valid` is padding. In front of an episode it repeats the episode's first timestep, whose `done` resets the
carry, so that the burn-in takes nothing from the episode; behind it, the first timestep of the next one, whose `done`
says that the episode is over. An episode can be drawn as soon as the one after it has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from memorax.buffers.buffer import BufferState, Index, ReplayBatch, WindowBuffer, require_one_window
from memorax.buffers.priorities import draw
from memorax.buffers.storage import (
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


class EpisodeStarts(struct.PyTreeNode):
    """Where in the ring windows are.

    Attributes:
        lead: at each step from which on a window learns, how many steps of the episode are before it in the window;
            -1 at all other steps. int32 `[num_envs, num_steps]`.
        elapsed: steps between the newest step of each environment and the first of its episode, counted up to
            `sequence_length + 1`, int32 `[num_envs]`.
    """

    lead: Array
    elapsed: Array


def stored_done(steps: PyTree) -> Array:
    """`steps.timesteps.done`: whether each step is the first of an episode."""
    return steps.timesteps.done


@dataclass(frozen=True)
class EpisodeBuffer(WindowBuffer):
    """Draws windows of one episode each, uniformly: see `ReplayBuffer`.

    Attributes:
        episode_starts: finds in the steps which are the first of an episode, bool of the leading shape of the steps; by
            default `steps.timesteps.done`.
    """

    episode_starts: Callable[[PyTree], Array] = stored_done

    def init(self, step: PyTree, carry: Carry, num_steps: int, period: int | None = None) -> BufferState:
        ring = init_storage(step, carry, self.capacity, num_steps, num_steps if period is None else period)
        sizes = layout(ring)
        require_one_window(self, sizes)
        lead = jnp.full((sizes.num_envs, sizes.num_steps), -1, jnp.int32)
        elapsed = jnp.full((sizes.num_envs,), self.sequence_length + 1, jnp.int32)
        return BufferState(ring, starts=EpisodeStarts(lead, elapsed))

    def add(self, state: BufferState, steps: PyTree, carries: Carry) -> BufferState:
        sizes, starts = layout(state.storage), state.starts
        first = self.episode_starts(steps)  # (B, T)
        num_steps = first.shape[1]
        written = next_steps(state.storage, num_steps)  # (T,)
        elapsed = self._elapsed(starts.elapsed, first)
        after_start = (
            written - self.burn_in
        ) % sizes.stride  # steps since the last one with a carry `burn_in` before it

        goes_on = (after_start == 0)[None] & (elapsed > self.sequence_length)
        lead = starts.lead.at[:, written].set(jnp.where(first, 0, jnp.where(goes_on, self.burn_in, -1)))

        # An episode turns out to be too long for its first window: the second one starts at the last place before.
        second_start = (written - after_start) % sizes.num_steps
        second_lead = jnp.minimum(self.sequence_length - after_start, self.burn_in)
        kept = after_start - jnp.arange(num_steps) <= sizes.num_steps - num_steps  # not overwritten by these steps
        found = (elapsed == self.sequence_length) & kept[None]
        column = jnp.where(found, second_start[None], sizes.num_steps)  # beyond the last column: dropped
        row = jnp.arange(sizes.num_envs)[:, None]
        lead = lead.at[row, column].set(second_lead[None], mode="drop")
        return state.replace(storage=append(state.storage, steps, carries), starts=EpisodeStarts(lead, elapsed[:, -1]))

    def _elapsed(self, before: Array, first: Array) -> Array:
        """Steps since the first of the episode, up to `sequence_length + 1`, `[B, T]`; `before` of the step before."""
        time = jnp.arange(first.shape[1])[None]
        start = jax.lax.cummax(jnp.where(first, time, -1), axis=1)  # -1 where the episode began in an addition before
        elapsed = jnp.where(start < 0, before[:, None] + 1 + time, time - start)
        return jnp.minimum(elapsed, self.sequence_length + 1)

    def num_windows(self, state: BufferState) -> Array:
        return self.legal(state).sum(dtype=jnp.int32)

    def sample(self, key: Key, state: BufferState) -> ReplayBatch:
        legal = self.legal(state)
        drawn, probability = draw(key, legal.astype(jnp.float32), self.batch_size)
        env, slot = jnp.divmod(drawn, legal.shape[1])
        steps, carry, valid = self.read(state, env, slot)
        index = Index(drawn, jnp.zeros(drawn.shape, jnp.uint32))
        return ReplayBatch(steps=steps, carry=carry, valid=valid, index=index, probability=probability)

    def legal(self, state: BufferState) -> Array:
        lead, elapsed = state.starts.lead, state.starts.elapsed
        newest = count_steps(state.storage) - 1  # in steps from the oldest one
        step = ((jnp.arange(lead.shape[1]) - oldest_step(state.storage)) % lead.shape[1])[None]
        full = step + self.sequence_length <= newest
        ended = step < (newest - elapsed)[:, None]  # another episode has begun since
        return (lead >= 0) & (step >= lead) & (full | ended)

    def next_slots(self, state: BufferState, num_steps: int) -> Array:
        return next_steps(state.storage, num_steps)

    def read(self, state: BufferState, env: Array, slot: Array) -> tuple[PyTree, Carry, Array]:
        sizes = layout(state.storage)
        following = slot[:, None] + jnp.arange(1, self.sequence_length + 1)[None]
        chunk, offset = jnp.divmod(following, sizes.period)
        first = self.episode_starts(state.storage.experience.steps)[
            env[:, None], chunk % sizes.num_chunks, offset
        ]  # (N, L)
        ends = first.any(axis=1)
        stop = jnp.where(ends, 1 + jnp.argmax(first, axis=1), self.sequence_length)[:, None]
        lead = state.starts.lead[env, slot][:, None]
        step = jnp.arange(-self.burn_in, self.sequence_length + 1)[None]  # from the first that is learned from
        valid = (step >= -lead) & (step <= stop - ends[:, None])
        steps = read_steps(state.storage, env, slot[:, None] + jnp.clip(step, -lead, stop))
        return steps, read_carry(state.storage, env, slot - self.burn_in), valid
