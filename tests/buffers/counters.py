"""Strictly increasing counters to fill buffers with: what comes back says where it was written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from memorax.buffers import PrioritisedSequenceBuffer, SequenceBuffer


@dataclass(frozen=True)
class Sizes:
    num_envs: int
    num_steps: int
    capacity: int
    sequence_length: int
    burn_in: int
    has_carry: bool
    num_carries: int = 1

    @property
    def buffer(self) -> SequenceBuffer:
        return SequenceBuffer(self.capacity, self.sequence_length, min(self.capacity, 64), self.burn_in)

    @property
    def prioritised_buffer(self) -> PrioritisedSequenceBuffer:
        return PrioritisedSequenceBuffer(
            self.capacity, self.sequence_length, min(self.capacity, 64), self.burn_in, priority_exponent=0.5
        )

    @property
    def period(self) -> int:
        return self.num_steps // self.num_carries

    @property
    def kept_steps(self) -> int:
        return math.ceil(self.capacity / (self.num_envs * self.period)) * self.period

    @property
    def stride(self) -> int:
        return self.period if self.has_carry else 1

    def addition(self, index) -> tuple[dict, dict]:
        """The `index`-th steps to be added, counted from 1 in every environment, and the count before them."""
        before = jnp.broadcast_to(index * self.num_steps, (self.num_envs,))
        time = before[:, None] + 1 + jnp.arange(self.num_steps)[None]
        env = jnp.broadcast_to(jnp.arange(self.num_envs)[:, None] + 1, time.shape)
        steps = {"time": time, "env": env, "vector": jnp.stack([time, env, time], axis=-1).astype(jnp.float32)}
        counts = time[:, :: self.period] - 1
        carry = {"time": counts, "vector": jnp.stack([counts, counts], axis=-1).astype(jnp.float32)}
        return steps, carry if self.has_carry else {}

    def init(self, buffer=None):
        shapes = jax.eval_shape(self.addition, 0)
        step, carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0], *x.shape[2:]), x.dtype), shapes)
        return (buffer or self.buffer).init(step, carry, self.num_steps, self.period)


def legal_starts(sizes: Sizes, additions: int) -> list[int]:
    """The counts a window may start with after `additions`, by enumeration."""
    newest = additions * sizes.num_steps
    oldest = max(newest - sizes.kept_steps, 0) + 1
    window = sizes.burn_in + sizes.sequence_length + 1
    return [t for t in range(oldest, newest - window + 2) if (t - 1) % sizes.stride == 0]
