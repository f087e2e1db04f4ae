"""Shows each observation some steps late."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.wrappers.arguments import require_integer
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class DelayObservation(Transform):
    """See every observation `num_steps` steps late.

    At step `t` of an episode the observation of step `max(t - num_steps, 0)` is seen: the first one until the second
    arrives. The final observation is as late as any other.

    Args:
        env: the environment.
        num_steps: delay in steps.

    Raises:
        ValueError: if `num_steps` is not a positive integer.
    """

    def __init__(self, env: Environment, num_steps: int) -> None:
        super().__init__(env)
        self.num_steps = require_integer("delay_observation", num_steps, "the delay in steps")

    def begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        length = self.num_steps
        return observation, jax.tree.map(lambda x: jnp.broadcast_to(x, (length, *jnp.shape(x))), observation)

    def observe(
        self, key: Key, memory: PyTree, action: PyTree, reward: Array, observation: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        seen = jax.tree.map(lambda late: late[0], memory)
        return seen, jax.tree.map(lambda late, new: jnp.concatenate([late[1:], new[None]]), memory, observation)
