"""Elements of spaces as vectors, without parameters."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space, in_type
from memorax.networks.encoders.mlp import flatten
from memorax.types import Array, PyTree

WIDEST = 65_535
"""How far apart bounds may be that say something of what is seen."""


class OneHot(nn.Module):
    """A vector with a one at the place an integer names.

    Attributes:
        num_classes: number of places.
    """

    num_classes: int

    def __call__(self, inputs: Array) -> Array:
        """Vectors `[..., num_classes]` of integers `[...]`; of zeros where an integer names no place.

        Raises:
            ValueError: if the inputs are no integers.
        """
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(f"OneHot inputs {inputs.shape} are of type {inputs.dtype}: use MLP for what is no integer")
        return jax.nn.one_hot(inputs, self.num_classes)


class SpaceEncoder(nn.Module):
    """An element of any space as one float vector, without parameters.

    Discrete choices become one-hot vectors, and numbers are flattened: floats as they are, integers scaled to `0 ... 1`
    where their bounds are at most 65 535 apart and as they are where they are not, since wider bounds say what the type
    can hold and not what is seen. Dictionaries are concatenated in the order of their sorted keys; an entry that a
    network hides is left out.

    Attributes:
        space: the space.
    """

    space: Space

    def __call__(self, element: PyTree) -> Array:
        """Vectors `[B, T, F]` of elements whose leaves are `[B, T, ...]`.

        Raises:
            ValueError: if the space is of a kind that is not known.
        """
        return _encode(self.space, element)


def _encode(space: Space, element: PyTree) -> Array:
    match space:
        case Discrete():
            return jax.nn.one_hot(element, space.n)
        case MultiDiscrete():
            choices = [jax.nn.one_hot(element[..., i], n) for i, n in enumerate(space.nvec)]
            return jnp.concatenate(choices, axis=-1)
        case Box():
            return flatten(element if jnp.issubdtype(space.dtype, jnp.floating) else scale(space, element))
        case Dict():
            parts = [_encode(space.spaces[name], element[name]) for name in sorted(space.spaces) if name in element]
            return jnp.concatenate(parts, axis=-1)
        case _:
            raise ValueError(
                f"SpaceEncoder space ({type(space).__name__}) must be Discrete, MultiDiscrete, Box or a Dict of these"
            )


def scale(space: Box, elements: Array) -> Array:
    """Elements `[B, T, *space.shape]` of a box as float32, between 0 and 1 where their bounds are known.

    Bounds that are infinite or more than 65 535 apart are those of a type; elements between them stay as they are.
    """
    finite = [np.isfinite(np.asarray(bound, np.float64)) for bound in (space.low, space.high)]
    low, high = (np.broadcast_to(in_type(np.asarray(x), space.dtype), space.shape) for x in (space.low, space.high))
    extent = high.astype(np.float64) - low.astype(np.float64)
    known = np.broadcast_to(finite[0] & finite[1], space.shape) & (extent <= WIDEST)
    extent = np.where(known & (extent > 0), extent, 1).astype(np.float32)
    # Exact where a float32 is too coarse, far from zero: differences of integers wrap around to what they are, as no
    # bounds that are known are far apart.
    exact = _difference_type(elements.dtype)
    scaled = (elements.astype(exact) - low.astype(exact)[None, None]).astype(jnp.float32) / extent[None, None]
    return scaled if known.all() else jnp.where(known[None, None], scaled, elements.astype(jnp.float32))


def _difference_type(dtype: Any) -> Any:
    """The type to subtract elements in: of integers a signed one as wide as they are, at least of 32 bits."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return np.float32
    return np.int64 if dtype.itemsize == 8 else np.int32
