"""The environment protocol, and how one environment becomes a batch of them."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree, where

StepResult = tuple[PyTree, PyTree, Array, Array, Array, dict[str, Any]]


class Environment(abc.ABC):
    """One environment as pure functions of arrays.

    A member implements `reset`, `step_env`, the two spaces and, where it has parameters, `default_params`.
    `step` adds the auto-reset and is not overridden.
    """

    @property
    def name(self) -> str:
        """What the environment is called in messages and plots."""
        return type(self).__name__

    @property
    def default_params(self) -> PyTree:
        """The parameters `make` returns beside the environment."""
        return None

    @abc.abstractmethod
    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode. Returns `(observation, env_state)`."""

    @abc.abstractmethod
    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Take one step without any reset.

        Returns `(observation, env_state, reward, terminated, truncated, info)`; `terminated` and `truncated`
        are bool scalars, and a time limit sets `truncated` alone.
        """

    @abc.abstractmethod
    def observation_space(self, params: PyTree) -> Space:
        """The space observations lie in."""

    @abc.abstractmethod
    def action_space(self, params: PyTree) -> Space:
        """The space actions are chosen from."""

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Take one step and, where the episode ends, start the next.

        Returns what `step_env` returns, with `observation` and `env_state` those of the next episode where this
        one ended; `info["final_observation"]` is always the observation the action led to.
        """
        step_key, reset_key = jax.random.split(key)
        final_observation, state, reward, terminated, truncated, info = self.step_env(
            step_key, env_state, action, params
        )
        fresh = self.reset(reset_key, params)
        observation, state = where(terminated | truncated, fresh, (final_observation, state))
        return observation, state, reward, terminated, truncated, {**info, "final_observation": final_observation}

    def vectorize(self, num_envs: int) -> VectorEnvironment:
        """The batch of `num_envs` copies a rollout steps."""
        return VectorEnvironment(self, num_envs)


class VectorEnvironment:
    """`num_envs` copies of an environment, stepped as one batch; every leaf gains a leading axis `[B]`.

    Attributes:
        env: the environment that is copied.
        num_envs: how many copies.
    """

    def __init__(self, env: Environment, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode in each environment. Returns `(observation, env_state)`."""
        keys = jax.random.split(key, self.num_envs)
        return jax.vmap(self.env.reset, in_axes=(0, None))(keys, params)

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        """Step each environment, as `Environment.step` does.

        Returns the same six values; rewards are float32 and a step that terminated is never truncated too.
        """
        keys = jax.random.split(key, self.num_envs)
        observation, env_state, reward, terminated, truncated, info = jax.vmap(self.env.step, in_axes=(0, 0, 0, None))(
            keys, env_state, action, params
        )
        terminated = jnp.asarray(terminated, bool)
        truncated = jnp.asarray(truncated, bool) & ~terminated
        return observation, env_state, jnp.asarray(reward, jnp.float32), terminated, truncated, info
