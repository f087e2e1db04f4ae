"""Where a NaN or an infinity is."""

from __future__ import annotations

import jax.numpy as jnp

from memorax.types import Array


def zero_or_nan(x: Array) -> Array:
    """`[..., D]` to `[...]`: NaN where any of the last axis is not finite, else zero.

    By a product with zeros, several times faster on a CPU than asking each element.
    """
    return x @ jnp.zeros(x.shape[-1:], x.dtype)
