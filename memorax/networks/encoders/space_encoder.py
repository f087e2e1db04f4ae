"""Elements of spaces as vectors, without parameters."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.networks.encoders.mlp import flatten
from memorax.types import Array, PyTree


class OneHot(nn.Module):
    """A vector with a one at the place an integer names.

    Attributes:
        num_classes: how many places.
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

    Discrete choices become one-hot vectors, numbers are flattened (bounded integers scaled to `0 ... 1`), and
    dictionaries concatenated in the order of their sorted keys.

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
            return flatten(_scale_integers(space, element))
        case Dict():
            parts = [_encode(space.spaces[name], element[name]) for name in sorted(space.spaces)]
            return jnp.concatenate(parts, axis=-1)
        case _:
            raise ValueError(
                f"SpaceEncoder space ({type(space).__name__}) must be Discrete, MultiDiscrete, Box or a Dict of these"
            )


def _scale_integers(space: Box, element: Array) -> Array:
    """The elements of a bounded integer box between 0 and 1, any others as they are."""
    if jnp.issubdtype(space.dtype, jnp.floating) or not space.bounded:
        return element
    low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
    extent = np.broadcast_to(np.maximum(high - low, 1.0), space.shape)[None, None]
    return (element.astype(jnp.float32) - np.broadcast_to(low, space.shape)[None, None]) / extent
