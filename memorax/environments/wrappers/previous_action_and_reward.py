"""Adds the previous action and reward to the observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.environments.spaces import Box, Dict, Space
from memorax.environments.wrappers.blank import with_zero
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree

REWARD = Box(-jnp.inf, jnp.inf)


class PreviousActionAndReward(Transform):
    """Make the observation a dictionary of `observation`, the previous `action` and the previous `reward`.

    Both are zero in the first observation of an episode. The final observation holds the last action and its reward.

    Args:
        env: the environment.
    """

    def begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        action = jax.eval_shape(self.action_space(params).sample, key)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), action)
        return {"observation": observation, "action": nothing, "reward": jnp.zeros((), jnp.float32)}, ()

    def observe(
        self, key: Key, memory: PyTree, action: PyTree, reward: Array, observation: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        of_the_space = jax.eval_shape(self.action_space(params).sample, key)
        action = jax.tree.map(lambda taken, shape: jnp.asarray(taken, shape.dtype), action, of_the_space)
        return {"observation": observation, "action": action, "reward": jnp.asarray(reward, jnp.float32)}, memory

    def seen_space(self, space: Space, params: PyTree) -> Dict:
        action_space: Space = self.action_space(params)
        if isinstance(action_space, Box):
            action_space = with_zero(action_space)
        return Dict({"observation": space, "action": action_space, "reward": REWARD})
