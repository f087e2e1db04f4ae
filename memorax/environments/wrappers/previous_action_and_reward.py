"""Adds the previous action and reward to the observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Space, policy_space
from memorax.environments.wrappers.blank import with_zero
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree

REWARD = Box(-jnp.inf, jnp.inf)


class PreviousActionAndReward(Transform):
    """Make the observation a dictionary of `observation`, the previous `action` and the previous `reward`.

    Both are zero in the first observation of an episode. The final observation holds the last action and its reward.
    Actions are shown in the units in which policies choose them (`policy_space`): bounded numbers as `-1 ... 1`.

    Args:
        env: the environment.
    """

    def begin(self, key: Key, observation: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        space = self.action_space(params)
        action = jax.eval_shape(lambda: chosen_action(space, space.sample(key)))
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), action)
        return {"observation": observation, "action": nothing, "reward": jnp.zeros((), jnp.float32)}, ()

    def observe(
        self, key: Key, memory: PyTree, action: PyTree, reward: Array, observation: PyTree, params: PyTree
    ) -> tuple[PyTree, PyTree]:
        action = chosen_action(self.action_space(params), action)
        return {"observation": observation, "action": action, "reward": jnp.asarray(reward, jnp.float32)}, memory

    def seen_space(self, space: Space, params: PyTree) -> Dict:
        action_space: Space = self.action_space(params)
        if isinstance(action_space, Box):
            action_space = with_zero(_policy_box(action_space))
        return Dict({"observation": space, "action": action_space, "reward": REWARD})


def chosen_action(space: Space, action: PyTree) -> PyTree:
    """What a policy chose for an environment to be given an action of `space`: the inverse of `environment_action`.

    Numbers become float32, in `policy_space(space)`; choices are of the type of their space.
    """
    if not isinstance(space, Box):
        of_the_space = jax.eval_shape(space.sample, jax.random.key(0))
        return jax.tree.map(lambda taken, shape: jnp.asarray(taken, shape.dtype), action, of_the_space)
    chosen = _policy_box(space)
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high, chosen_low, chosen_high = (
        np.where(np.isfinite(bound), bound, 0.0) for bound in (low, high, chosen.low, chosen.high)
    )
    # Two bounds give a middle and half a range, and a single one how far it was moved: the other's terms are 0.
    middle = np.where(bounded, 0.5 * low + 0.5 * high, low - chosen_low + high - chosen_high).astype(np.float32)
    half = np.where(bounded & (low < high), 0.5 * high - 0.5 * low, 1.0).astype(np.float32)
    return chosen.clip((jnp.asarray(action, jnp.float32) - middle) / half)


def _policy_box(space: Box) -> Box:
    chosen = policy_space(space)
    assert isinstance(chosen, Box)
    return chosen
