"""Positional embeddings for attention over an episode."""

from __future__ import annotations

import abc
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.types import Array


class PositionalEmbedding(nn.Module, abc.ABC):
    """Base class of positional embeddings, which tell attention where in the episode an input was.

    A member may change queries and keys by their absolute position, which counts from 0 at the start of the
    episode, and may add to the scores by age: how many inputs before the query the key was consumed.
    """

    @abc.abstractmethod
    def __call__(self, queries: Array, keys: Array, positions: Array) -> tuple[Array, Array]:
        """Embed queries and keys, `[B, H, T, D]` each, at integer `positions` `[B, T]`; the same shapes."""

    @abc.abstractmethod
    def bias(self, num_heads: int, context_length: int) -> Array | None:
        """What to add to the scores by age, `[1, H, 1, context_length]`, or None for nothing."""


class RoPE(PositionalEmbedding):
    """Rotary position embedding (Su et al., 2021, "RoFormer", Section 3.4.2, Eq. 34).

    Component `i` and component `i + D/2` of a head form a pair, where the paper pairs neighbours, rotated by
    `position * base^(-2 i / D)`: a score depends on the distance between query and key alone. Phases are kept as 32-bit
    fractions of a turn, which wrap exactly, so a distance means the same rotation, to 1e-6, however long the episode.

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
        phase = positions.astype(jnp.uint32)[..., None] * np.tile(frequency, 2)[None, None]
        quarters = np.repeat(np.array([0, 3], np.uint32) << 30, dim // 2)  # a sine is a cosine, a quarter turn earlier
        # [cos, cos, -sin, sin] come out of a product, which XLA:CPU stores; otherwise it would fuse the cosines into
        # their use and compute them again for every head.
        spread = np.kron([[1, 1, 0, 0], [0, 0, -1, 1]], np.eye(dim // 2)).astype(np.float32)
        turned = jnp.matmul(cosine(phase + quarters[None, None]), spread, precision="highest")[:, None]
        cos, sin = jnp.split(turned, 2, axis=-1)  # [B, 1, T, D]

        def rotate(x: Array) -> Array:
            # Swap halves with a permutation matrix: XLA:CPU would fuse `jnp.roll` into its uses, element by element.
            partners = jnp.matmul(x, np.roll(np.eye(dim, dtype=x.dtype), dim // 2, axis=1), precision="highest")
            return (x * cos + partners * sin).astype(x.dtype)

        return rotate(queries), rotate(keys)

    def bias(self, num_heads: int, context_length: int) -> None:
        """Nothing: the rotation alone carries the position."""
        return None


class ALiBi(PositionalEmbedding):
    """Attention with linear biases (Press et al., 2022, "Train Short, Test Long", Section 3).

    The score of a key that was consumed `age` inputs ago is lowered by `2^(-8 h / H) * age` in head `h = 1 ... H`.
    """

    def __call__(self, queries: Array, keys: Array, positions: Array) -> tuple[Array, Array]:
        """Leave queries and keys as they are; see `PositionalEmbedding`."""
        return queries, keys

    def bias(self, num_heads: int, context_length: int) -> Array:
        """The penalties; see `PositionalEmbedding`."""
        slopes = 2.0 ** (-8 * np.arange(1, num_heads + 1) / num_heads)
        return jnp.asarray(-slopes[:, None] * np.arange(context_length), jnp.float32)[None, :, None]


def cosine(phase: Array) -> Array:
    """The cosine of a 32-bit fraction of a turn, uint32, to 2e-7: several times faster on a CPU than that of a float.

    The sine's Taylor series about the nearest zero, which lies a quarter of a turn away at most.
    """
    turns = phase.astype(jnp.int32).astype(jnp.float32) * 2.0**-32  # from -1/2 to 1/2
    x = 0.25 - jnp.abs(turns)
    square, total = x * x, jnp.zeros_like(x)
    for power in range(13, 0, -2):
        total = total * square + (-1) ** (power // 2) * (2 * math.pi) ** power / math.factorial(power)
    return total * x


def sinusoids(num_positions: int, features: int) -> np.ndarray:
    """The encodings of Vaswani et al. (2017, Section 3.5), sines first (Dai et al., 2019): `[num_positions, features]`.

    Raises:
        ValueError: if the number of features is odd.
    """
    if features % 2:
        raise ValueError(f"sinusoids come in pairs: the number of features ({features}) must be even")
    angles = np.arange(num_positions)[:, None] * 10_000.0 ** (-np.arange(0, features, 2) / features)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)
