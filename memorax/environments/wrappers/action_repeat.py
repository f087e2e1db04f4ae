"""Repeats each action for several steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment, StepResult
from memorax.environments.wrappers.arguments import require_integer, require_step_env
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Key, PyTree, where

SUMMED = "raw_reward"


class ActionRepeat(Wrapper):
    """Take each action `num_repeats` times, or until the episode ends; the agent sees the last observation.

    Rewards are summed; `info` is that of the last step taken.

    Args:
        env: an environment that is stepped one at a time.
        num_repeats: number of steps that each action is taken for.

    Raises:
        ValueError: if `num_repeats` is not a positive integer, or the environment is only stepped in batches.
    """

    def __init__(self, env: Environment, num_repeats: int) -> None:
        require_step_env("action_repeat", env)
        super().__init__(env)
        self.num_repeats = require_integer("action_repeat", num_repeats, "how often an action is taken")

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        def take(key: Key, state: PyTree) -> StepResult:
            observation, state, reward, *ends, info = self.env.step_env(key, state, action, params)
            result = observation, state, jnp.asarray(reward, jnp.float32), *ends, info
            return jax.tree.map(jnp.asarray, result)

        def take_again(so_far: StepResult, key: Key) -> tuple[StepResult, None]:
            observation, state, reward, terminated, truncated, info = take(key, so_far[1])
            info = {name: so_far[5][name] + value if name == SUMMED else value for name, value in info.items()}
            result = observation, state, so_far[2] + reward, terminated, truncated, info
            return where(so_far[3] | so_far[4], so_far, result), None

        keys = jax.random.split(key, self.num_repeats)
        return jax.lax.scan(take_again, take(keys[0], env_state), keys[1:])[0]
