"""Turns any observation into one vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.space_vectors import encode, scaling
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.environments.wrappers.parts import own_space
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class FlattenObservation(Transform):
    """Make one vector of floats of every observation.

    It is what networks see of an observation without images: choices become one-hot vectors, integers with bounds are
    scaled to `0 ... 1`, arrays are flattened, and dictionaries are concatenated in the order of their sorted keys.

    Args:
        env: the environment.

    Raises:
        ValueError: if the observation space is of a kind that is not known.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._space = own_space(env)
        bounds(self._space)

    def show(self, key: Key, observation: PyTree, params: PyTree) -> Array:
        return flatten(self._space, observation)

    def seen_space(self, space: Space, params: PyTree) -> Box:
        low, high = bounds(space)
        return Box(low, high, low.shape)


def flatten(space: Space, element: PyTree) -> Array:
    """An element of a space as the vector of float32 that `SpaceEncoder` makes of it."""
    return encode(space, jax.tree.map(lambda x: jnp.asarray(x)[None, None], element))[0, 0].astype(jnp.float32)


def bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest vector `flatten` makes of elements of a space, float32.

    Raises:
        ValueError: if the space is of a kind that is not known.
    """
    match space:
        case Discrete(n=n):
            return np.zeros(n, np.float32), np.ones(n, np.float32)
        case MultiDiscrete(nvec=nvec):
            return np.zeros(sum(nvec), np.float32), np.ones(sum(nvec), np.float32)
        case Dict(spaces=spaces):
            lows, highs = zip(*(bounds(spaces[name]) for name in sorted(spaces)), strict=True)
            return np.concatenate(lows), np.concatenate(highs)
        case Box():
            return _box_bounds(space)
        case _:
            raise ValueError(f"flatten_observation (True) knows no {type(space).__name__} space")


def _box_bounds(space: Box) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
    if not jnp.issubdtype(space.dtype, jnp.floating):
        known = scaling(space)[2]
        low, high = np.where(known, np.float32(0), low), np.where(known, np.float32(1), high)
    return low.reshape(-1), high.reshape(-1)
