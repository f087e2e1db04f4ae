"""Hides elements of the observation."""

from __future__ import annotations

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import describe
from memorax.environments.wrappers.parts import own_space
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class MaskObservation(Transform):
    """Keep only some elements of a flat observation.

    `MaskObservation(cartpole, (0, 2))` is CartPole without velocities: only the position and the angle are seen.

    Args:
        env: an environment whose observations are a `Box` of one axis.
        indices: indices of the elements to keep, in this order.

    Raises:
        ValueError: if observations are no flat `Box`, or an index is not one of its elements or comes twice.
    """

    def __init__(self, env: Environment, indices: Iterable[int]) -> None:
        super().__init__(env)
        space = own_space(env)
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise ValueError(f"mask_observation needs a Box observation of one axis: {env.name} has {describe(space)}")
        self.indices = _valid_indices(indices, space.shape[0])

    def show(self, key: Key, observation: Array, params: PyTree) -> Array:
        return jnp.stack([observation[index] for index in self.indices])

    def seen_space(self, space: Space, params: PyTree) -> Box:
        assert isinstance(space, Box)
        kept = list(self.indices)
        low, high = (np.broadcast_to(np.asarray(bound), space.shape)[kept] for bound in (space.low, space.high))
        return Box(low, high, (len(kept),), space.dtype)


def _valid_indices(indices: Iterable[int], size: int) -> tuple[int, ...]:
    kept = tuple(indices) if isinstance(indices, Iterable) else (indices,)
    integers = all(isinstance(index, int | np.integer) and 0 <= index < size for index in kept)
    if not kept or not integers or len(set(kept)) != len(kept):
        raise ValueError(
            f"mask_observation ({indices!r}) must name different elements to keep, each from 0 to {size - 1}"
        )
    return kept
