"""Truncates episodes after a number of steps."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.wrappers.arguments import require_integer, require_step_env
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Array, Key, PyTree


class TimeLimitState(struct.PyTreeNode):
    """The state of the environment inside, and the steps taken in the episode."""

    env_state: PyTree
    time: Array


class TimeLimit(Wrapper):
    """Truncate an episode that has not ended after `num_steps` steps.

    An episode that terminates with its last step is terminated, not truncated. A limit of the environment's own stays
    in force: the shorter of the two ends the episode.

    Args:
        env: an environment that is stepped one at a time.
        num_steps: the longest an episode lasts, in steps of the agent.

    Raises:
        ValueError: if `num_steps` is not a positive integer, or the environment is only stepped in batches.
    """

    def __init__(self, env: Environment, num_steps: int) -> None:
        require_step_env("time_limit", env)
        super().__init__(env)
        self.num_steps = require_integer("time_limit", num_steps, "the longest an episode lasts, in steps")

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, TimeLimitState]:
        observation, env_state = self.env.reset(key, params)
        return observation, TimeLimitState(env_state=env_state, time=jnp.zeros((), jnp.int32))

    def step_env(self, key: Key, env_state: TimeLimitState, action: PyTree, params: PyTree) -> StepResult:
        observation, inner, reward, terminated, truncated, info = self.env.step_env(
            key, env_state.env_state, action, params
        )
        state = TimeLimitState(env_state=inner, time=env_state.time + 1)
        truncated = (truncated | (state.time >= self.num_steps)) & ~terminated
        return observation, state, reward, terminated, truncated, info

    def inner_state(self, env_state: TimeLimitState) -> PyTree:
        return env_state.env_state
