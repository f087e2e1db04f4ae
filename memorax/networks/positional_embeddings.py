"""Positional embeddings for attention over an episode."""

from __future__ import annotations

import abc
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.types import Array


class PositionalEmbedding(nn.Module, abc.ABC):
    """How attention knows where in the episode an input was.

    A member may change queries and keys by their absolute position, which counts from 0 at the start of the
    episode, and may add to the scores by age: how many inputs ago the key was consumed, seen from the query.
    """

    @abc.abstractmethod
    def __call__(self, queries: Array, keys: Array, positions: Array) -> tuple[Array, Array]:
        """Embed queries and keys, `[B, H, T, D]` each, at integer `positions` `[B, T]`; the same shapes."""

    @abc.abstractmethod
    def bias(self, ages: Array) -> Array:
        """What to add to the scores, for integer `ages` `[A, Q, K]`: broadcasts against `[A, H, Q, K]`."""


class RoPE(PositionalEmbedding):
    """Rotary position embedding (Su et al., 2021, "RoFormer", Section 3.2.2, Eq. 34).

    Component `i` and component `i + D/2` of a head form a pair, rotated by `position * base^(-2 i / D)`: a score
    depends on the distance between query and key alone. Phases are kept as 32-bit fractions of a turn, which wrap
    exactly, so a distance means the same rotation, to 1e-6, however long the episode.

    Attributes:
        base: the wavelengths go from `2 pi` to `2 pi * base` steps.
    """

    base: float = 10_000.0

    def __call__(self, queries: Array, keys: Array, positions: Array) -> tuple[Array, Array]:
        """Rotate queries and keys; see `PositionalEmbedding`.

        Raises:
            ValueError: if the head dimension is odd.
        """
        dim = queries.shape[-1]
        if dim % 2:
            raise ValueError(f"RoPE rotates pairs: the head dimension ({dim}) must be even")
        turns_per_step = self.base ** (-np.arange(0, dim, 2) / dim) / (2 * math.pi)
        frequency = np.round(turns_per_step * 2.0**32).astype(np.uint32)
        phase = positions.astype(jnp.uint32)[..., None] * frequency[None, None]
        angle = phase.astype(jnp.int32).astype(jnp.float32) * (2 * math.pi / 2.0**32)
        cos, sin = jnp.cos(angle), jnp.sin(angle)  # [B, T, D / 2]
        cos = jnp.concatenate([cos, cos], axis=-1)[:, None]
        sin = jnp.concatenate([-sin, sin], axis=-1)[:, None]

        def rotate(x: Array) -> Array:
            return (x * cos + jnp.roll(x, dim // 2, axis=-1) * sin).astype(x.dtype)

        return rotate(queries), rotate(keys)

    def bias(self, ages: Array) -> Array:
        """Zero: the rotation alone carries the position."""
        return jnp.zeros((1, 1, 1, 1))
