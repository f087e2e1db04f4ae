"""Finds vectors that hold a NaN or an infinity."""

from __future__ import annotations

import jax.numpy as jnp

from memorax.types import Array


def zero_or_nan(x: Array) -> Array:
    """Return NaN for each vector with an element that is not finite, and zero for the others.

    A product with zeros does it, as zero times NaN or infinity is NaN; on a CPU that is several times faster than
    `jnp.isfinite(x).all(-1)`.

    Args:
        x: `[..., D]`.

    Returns:
        `[...]`.
    """
    return x @ jnp.zeros(x.shape[-1:], x.dtype)
