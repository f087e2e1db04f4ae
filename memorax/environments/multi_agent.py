"""Several agents in one environment, sharing one set of parameters."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.types import Array, Key, PyTree


class MultiAgentEnvironment(Environment):
    """An environment in which agents that are alike act side by side.

    Its spaces are those of one agent. Observations, actions, rewards and the leaves of `info` have a leading axis
    `[A]` of agents; `terminated` and `truncated` are scalars, since the episode of every agent is that of its
    environment: an agent that is out before the others goes on, without effect, until it ends. A batch lays agents
    side by side, so that any algorithm of one agent learns one policy for all of them (parameter sharing; Gupta et
    al., "Cooperative Multi-Agent Control Using Deep Reinforcement Learning", 2017).
    """

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """How many agents act in one environment."""

    def vectorize(self, num_envs: int) -> MultiAgentVectorEnvironment:
        """The batch of `num_envs` agents, those of one environment next to each other.

        Raises:
            ValueError: if `num_envs` is no multiple of the number of agents.
        """
        return MultiAgentVectorEnvironment(self, num_envs)


class MultiAgentVectorEnvironment(VectorEnvironment):
    """A batch of agents: the `num_agents` of the first environment, then those of the second, and so on.

    Every leaf that an algorithm sees leads with `[B]`, B agents; those of the state lead with one entry per
    environment.

    Attributes:
        env: the environment that is copied.
        num_envs: how many agents, over all copies.
    """

    env: MultiAgentEnvironment

    def __init__(self, env: MultiAgentEnvironment, num_envs: int) -> None:
        if num_envs % env.num_agents:
            raise ValueError(
                f"num_envs ({num_envs}) must be divisible by the {env.num_agents} agents of {env.name}: "
                "it counts agents over all environments"
            )
        super().__init__(env, num_envs)

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(key, self.num_envs // self.env.num_agents)
        observation, env_state = jax.vmap(self.env.reset, in_axes=(0, None))(keys, params)
        return self._side_by_side(observation), env_state

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        keys = jax.random.split(key, self.num_envs // self.env.num_agents)
        actions = jax.tree.map(lambda x: x.reshape(-1, self.env.num_agents, *x.shape[1:]), action)
        observation, env_state, reward, terminated, truncated, info = jax.vmap(self.env.step, in_axes=(0, 0, 0, None))(
            keys, env_state, actions, params
        )
        observation, reward, info = self._side_by_side((observation, reward, info))
        terminated = self._for_each_agent(terminated)
        truncated = self._for_each_agent(truncated) & ~terminated
        return observation, env_state, jnp.asarray(reward, jnp.float32), terminated, truncated, info

    def _side_by_side(self, tree: Any) -> Any:
        """Leaves `[B / A, A, ...]` as `[B, ...]`."""
        return jax.tree.map(lambda x: x.reshape(self.num_envs, *x.shape[2:]), tree)

    def _for_each_agent(self, ended: Array) -> Array:
        return jnp.repeat(jnp.asarray(ended, bool), self.env.num_agents)
