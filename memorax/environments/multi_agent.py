"""Several agents in one environment, side by side in the batch."""

from __future__ import annotations

import abc
from typing import Any, final

import jax
import jax.numpy as jnp
from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.types import Array, Key, PyTree

AgentsStepResult = tuple[PyTree, PyTree, Array, Array, Array, Array, dict[str, Any]]


class AgentsState(struct.PyTreeNode):
    """The state of an environment of several agents.

    Attributes:
        env_state: what `reset_agents` and `step_agents` return.
        out: whether each agent takes no part in the next step, bool `[A]`.
    """

    env_state: PyTree
    out: Array


class MultiAgentEnvironment(Environment):
    """An environment in which several agents that are alike act at the same time.

    A member implements `num_agents`, `reset_agents`, `step_agents` and the two spaces, which are those of one agent.
    Observations, actions, rewards and the leaves of `info` have a leading axis `[A]` of agents; `terminated` and
    `truncated` are scalars, because an episode begins and ends for all agents together.

    An agent may go out before the episode ends. Its rows stay in the batch until then, its actions have no effect, and
    `info` says so, for every agent and step:

    * `active`, bool `[A]`: the agent took part in this step; still true in the step with which it goes out.
    * `went_out`, bool `[A]`: the agent went out with this step, which does not terminate the episode.
    * `raw_reward`, float32 `[A]`: what each agent is paid; the reward of the step is 0 for those that are out.

    A batch lays agents side by side, so that any algorithm of one agent learns one policy for all of them (parameter
    sharing; Gupta et al., "Cooperative Multi-Agent Control Using Deep Reinforcement Learning", 2017).
    """

    @property
    def has_agents(self) -> bool:
        return True

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """How many agents act in one environment."""

    @abc.abstractmethod
    def reset_agents(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode with every agent in. Returns `(observation, env_state)`."""

    @abc.abstractmethod
    def step_agents(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> AgentsStepResult:
        """Take one step without any reset.

        Returns `(observation, env_state, reward, out, terminated, truncated, info)`: what `step_env` of one agent
        returns, and `out`, bool `[A]`: which agents take no part in what follows.
        """

    def global_state(self, env_state: PyTree) -> Array | None:
        """All there is to know of an environment, for critics: each agent's copy of it, float32 `[A, G]`.

        None, the default, where an environment has no such vector of its own.

        Args:
            env_state: what `reset_agents` and `step_agents` return.
        """
        return None

    @final
    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, AgentsState]:
        observation, env_state = self.reset_agents(key, params)
        return observation, AgentsState(env_state=env_state, out=jnp.zeros((self.num_agents,), bool))

    @final
    def step_env(self, key: Key, env_state: AgentsState, action: PyTree, params: PyTree) -> StepResult:
        observation, after, reward, out, terminated, truncated, info = self.step_agents(
            key, env_state.env_state, action, params
        )
        active = ~env_state.out
        reward = jnp.broadcast_to(jnp.asarray(reward, jnp.float32), active.shape)
        info = {"raw_reward": reward, **info, "active": active, "went_out": active & out & ~terminated}
        observation = jax.tree.map(lambda seen: _zero_where(out, seen), observation)
        paid = _zero_where(~active, reward)
        return observation, AgentsState(env_state=after, out=out), paid, terminated, truncated, info

    def vectorize(self, num_envs: int) -> MultiAgentVectorEnvironment:
        return MultiAgentVectorEnvironment(self, num_envs)


def _zero_where(out: Array, seen: Array) -> Array:
    """What agents see or are paid, `[A, ...]`, 0 for those that are out, where it may be NaN: even what counts in no
    loss would spoil its gradient. Whole numbers and masks of legal actions stay as they are.
    """
    if not jnp.issubdtype(seen.dtype, jnp.inexact):
        return seen
    return jnp.where(jnp.expand_dims(out, range(1, seen.ndim)), 0, seen)


class MultiAgentVectorEnvironment(VectorEnvironment):
    """A batch of `num_envs * num_agents` rows: the agents of the first environment, those of the second, and so on.

    Row `i` of everything an algorithm sees belongs to agent `i % num_agents` of environment `i // num_agents`. The
    leaves of the state lead with one entry per environment.
    """

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, env_state = super().reset(key, params)
        return self._side_by_side(observation), env_state

    def step(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        agents = self.env.num_agents
        actions = jax.tree.map(lambda x: x.reshape(self.num_envs, agents, *x.shape[1:]), action)
        observation, env_state, reward, terminated, truncated, info = super().step(key, env_state, actions, params)
        observation, reward, info = self._side_by_side((observation, reward, info))
        return observation, env_state, reward, jnp.repeat(terminated, agents), jnp.repeat(truncated, agents), info

    def _side_by_side(self, tree: Any) -> Any:
        """Leaves `[num_envs, A, ...]` as `[num_envs * A, ...]`."""
        return jax.tree.map(lambda x: x.reshape(self.batch_size, *x.shape[2:]), tree)
