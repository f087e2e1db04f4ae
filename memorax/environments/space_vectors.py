"""Elements of spaces as numbers of about one scale, and as vectors."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space, in_type
from memorax.environments.wrappers.running_statistics import CLIP
from memorax.types import Array, PyTree

WIDEST = 65_535
"""How far apart bounds of integers in vectors may be that say something of what is seen."""
WIDEST_OF_PIXELS = 2**30
"""How far apart bounds of integer pixels may be likewise: less than any that are those of a type of 32 bits."""


def encode(space: Space, element: PyTree) -> Array:
    """What `SpaceEncoder` makes of elements of a space: vectors `[B, T, F]`."""
    match space:
        case Discrete():
            return jax.nn.one_hot(element, space.n)
        case MultiDiscrete():
            choices = [jax.nn.one_hot(element[..., i], n) for i, n in enumerate(space.nvec)]
            return jnp.concatenate(choices, axis=-1)
        case Box():
            return flatten(scale(space, element) if jnp.issubdtype(space.dtype, jnp.integer) else element)
        case Dict():
            parts = [encode(space.spaces[name], element[name]) for name in sorted(space.spaces) if name in element]
            return jnp.concatenate(parts, axis=-1)
        case _:
            raise ValueError(
                f"SpaceEncoder space ({type(space).__name__}) must be Discrete, MultiDiscrete, Box or a Dict of these"
            )


def scale(space: Box, elements: Array, pixels: bool = False) -> Array:
    """Elements `[B, T, *space.shape]` of a box as float32, between 0 and 1 where `scaling` knows their bounds.

    All others stay as they are.
    """
    low, extent, known = scaling(space, pixels)
    # Exact where a float32 is too coarse, far from zero: differences of integers wrap around to what they are, as no
    # bounds that are known are far apart.
    exact = _difference_type(elements.dtype)
    scaled = (elements.astype(exact) - low.astype(exact)[None, None]).astype(jnp.float32) / extent[None, None]
    return scaled if known.all() else jnp.where(known[None, None], scaled, elements.astype(jnp.float32))


def scaling(space: Box, pixels: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By what elements of a box are scaled, three arrays of its shape.

    Bounds say nothing of what is seen where they are infinite or so far apart that they are those of a type, and
    floats between -10 and 10 are as `normalize_observation` shows them: around 0, with a deviation of 1 already.

    Args:
        space: the box.
        pixels: whether elements are pixels; integers in vectors are scaled only if their bounds are nearer.

    Returns:
        `(low, extent, known)`: what is 0, in the type of the box; what is 1, as float32, counted from there; and where
        elements are scaled at all.
    """
    low, high = bounds_in_type(space)
    extent = high.astype(np.float64) - low.astype(np.float64)
    if jnp.issubdtype(space.dtype, jnp.floating):
        # A float32 can be divided by up to an eighth of the largest: beyond, reciprocals are rounded to 0.
        known = (extent <= float(jnp.finfo(space.dtype).max) / 8) & ((low != -CLIP) | (high != CLIP))
    else:
        known = extent <= (WIDEST_OF_PIXELS if pixels else WIDEST)
    return low, np.where(known & (extent > 0), extent, 1).astype(np.float32), known


def bounds_in_type(space: Box) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of each element of a box in its type, whose own they are where integers or bools have none."""
    low, high = (np.broadcast_to(np.asarray(bound), space.shape) for bound in (space.low, space.high))
    if jnp.issubdtype(space.dtype, jnp.bool_):
        return np.zeros(space.shape, bool), np.ones(space.shape, bool)
    return in_type(low, space.dtype), in_type(high, space.dtype)


def _difference_type(dtype: Any) -> Any:
    """The type to subtract elements in: of integers a signed one as wide as they are, at least of 32 bits."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return np.float32
    return np.int64 if dtype.itemsize == 8 else np.int32


def flatten(inputs: Array) -> Array:
    """`[B, T, ...]` as floats `[B, T, F]`."""
    return as_float(inputs).reshape(*inputs.shape[:2], math.prod(inputs.shape[2:]))


def as_float(inputs: Array) -> Array:
    """Floats of at most 32 bits as they are, anything else as float32."""
    narrow = jnp.issubdtype(inputs.dtype, jnp.floating) and inputs.dtype.itemsize <= 4
    return inputs if narrow else inputs.astype(jnp.float32)
