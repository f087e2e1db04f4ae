"""Shows every n-th observation and blanks the others."""

from __future__ import annotations

import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import require_box, require_integer
from memorax.environments.wrappers.blank import with_zero
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class PeriodicObservation(Transform):
    """See the first observation of an episode and every `period`-th after it, and zeros between.

    Args:
        env: an environment whose observations are a `Box`.
        period: steps from one observation that is seen to the next.

    Raises:
        ValueError: if `period` is not a positive integer, or observations are no `Box`.
    """

    def __init__(self, env: Environment, period: int) -> None:
        super().__init__(env)
        require_box("periodic_observation", env)
        self.period = require_integer("periodic_observation", period, "steps from one observation seen to the next")

    def begin(self, key: Key, observation: Array, params: PyTree) -> tuple[Array, Array]:
        return observation, jnp.zeros((), jnp.int32)

    def observe(
        self, key: Key, memory: Array, action: PyTree, reward: Array, observation: Array, params: PyTree
    ) -> tuple[Array, Array]:
        since_seen = (memory + 1) % self.period
        return jnp.where(since_seen == 0, observation, jnp.zeros_like(observation)), since_seen

    def seen_space(self, space: Space, params: PyTree) -> Box:
        assert isinstance(space, Box)
        return with_zero(space)
