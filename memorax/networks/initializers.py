"""Initializers of kernels beyond those of Flax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from memorax.types import Array, Key


def sparse(sparsity: float = 0.9) -> Callable[..., Array]:
    """Kernels most of whose weights are zero, the same number for every output (Elsayed et al., 2024, algorithm 1).

    The others are uniform between `-1 / sqrt(fan_in)` and `1 / sqrt(fan_in)`, and lie at random places. The last axis
    of a kernel is that of the outputs; all others together are the fan-in.

    Args:
        sparsity: the share of zeros, rounded to whole weights of an output, of which one stays at least.

    Returns:
        An initializer `(key, shape, dtype) -> kernel`.

    Raises:
        ValueError: if `sparsity` does not lie between 0 and 1, or is 1.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity ({sparsity}) must be at least 0 and less than 1")

    def initialize(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        weights_key, places_key = jax.random.split(key)
        fan_in, fan_out = math.prod(shape[:-1]), shape[-1]
        limit = 1 / math.sqrt(fan_in)
        weights = jax.random.uniform(weights_key, (fan_in, fan_out), dtype, -limit, limit)
        order = jnp.argsort(jax.random.uniform(places_key, (fan_in, fan_out)), axis=0)  # a permutation per output
        zeros = min(round(sparsity * fan_in), fan_in - 1)
        return jnp.where(order < zeros, 0.0, weights).reshape(shape)

    return initialize
