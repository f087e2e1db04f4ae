"""Several choices as one."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.environments.wrappers.arguments import describe
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree

LARGEST = np.iinfo(np.int32).max


class FlattenAction(Transform):
    """Number the combinations of several choices, so that one choice makes them all.

    The last choice varies fastest: with choices of 2 and 3, action 4 is `(1, 1)`.

    Args:
        env: an environment whose actions are `MultiDiscrete`.

    Raises:
        ValueError: if actions are not `MultiDiscrete`, or there are more combinations than 32-bit integers.
    """

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        space = env.action_space(env.default_params)
        if not isinstance(space, MultiDiscrete):
            raise ValueError(f"flatten_action (True) needs MultiDiscrete actions: {env.name} has {describe(space)}")
        if math.prod(space.nvec) > LARGEST:
            raise ValueError(f"flatten_action (True) makes too many actions of {space.nvec}: at most {LARGEST} fit")
        self._space = space

    def action_space(self, params: PyTree) -> Discrete:
        return Discrete(math.prod(self._space.nvec))

    def act(self, key: Key, memory: PyTree, action: Array, params: PyTree) -> tuple[Array, PyTree]:
        choices = jnp.unravel_index(action, self._space.nvec)
        return jnp.stack(choices).astype(self._space.dtype), memory
