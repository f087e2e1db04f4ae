"""Elements of spaces as vectors, without parameters."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.environments.space_vectors import encode
from memorax.environments.spaces import Space
from memorax.types import Array, PyTree


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
        return encode(self.space, element)
