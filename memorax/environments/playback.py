"""An environment that shows what it is told to: the place of a real one, where only the wrappers around it matter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from flax import struct

from memorax.environments.environment import Environment, StepResult, VectorEnvironment
from memorax.environments.spaces import Box, Dict, Space
from memorax.environments.wrappers.parts import OWN
from memorax.types import Array, Key, PyTree


class Arrived(struct.PyTreeNode):
    """What arrived from the real environment: leaves `[B, ...]`.

    Attributes:
        observation: the observation.
        reward: the reward of the step that led to it, float32.
        done: whether it is the first observation of an episode, bool.
    """

    observation: PyTree
    reward: Array
    done: Array


class Received(struct.PyTreeNode):
    """The state of a batch of `PlaybackEnvironment`: the action it was given last, `[B, ...]`."""

    action: PyTree


class PlaybackEnvironment(Environment):
    """An environment known by its spaces, whose parameters are the `Arrived` that the next step shows.

    Only batches of it are stepped. Without parameters it shows zeros: enough for whoever asks for shapes alone.

    Args:
        observation_space: the space of the observations of one agent.
        action_space: the space of the actions of one agent.
        num_agents: agents in one environment.
        agents_parts: which of `agent_id` and `global_state` every agent observes besides. The latter is blank: those
            who act do not see it.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        num_agents: int = 1,
        agents_parts: Collection[str] = (),
    ) -> None:
        self._action_space = action_space
        self._num_agents = num_agents
        self.agents_parts = agents_parts
        self._observation_space = observation_space
        if agents_parts:
            parts = observation_space.spaces if isinstance(observation_space, Dict) else {OWN: observation_space}
            sizes = {"agent_id": num_agents, "global_state": 1}
            added = {name: Box(0.0, 1.0, (sizes[name],)) for name in sizes if name in agents_parts}
            self._observation_space = Dict({**parts, **added})

    @property
    def batch_only(self) -> bool:
        return True

    @property
    def num_agents(self) -> int:
        return self._num_agents

    def observation_space(self, params: PyTree) -> Space:
        return self._observation_space

    def action_space(self, params: PyTree) -> Space:
        return self._action_space

    def reset(self, key: Key, params: PyTree) -> NoReturn:
        raise ValueError("a PlaybackEnvironment is reset by `vectorize(num_envs)`")

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> NoReturn:
        raise ValueError("a PlaybackEnvironment is stepped by `vectorize(num_envs)`")

    def vectorize(self, num_envs: int) -> PlaybackBatch:
        return PlaybackBatch(self, num_envs)


class PlaybackBatch(VectorEnvironment):
    """A batch of `PlaybackEnvironment`."""

    env: PlaybackEnvironment

    def reset(self, key: Key, params: Arrived | None) -> tuple[PyTree, Received]:
        if params is None:
            observation = self._zeros(self.env.observation_space(None))
        else:
            observation = self._with_parts(params.observation)
        return observation, Received(self._zeros(self.env.action_space(None)))

    def step(self, key: Key, env_state: Received, action: PyTree, params: Arrived | None) -> StepResult:
        observation, _ = self.reset(key, params)
        no = jnp.zeros((self.batch_size,), bool)
        reward, done = (jnp.zeros((self.batch_size,)), no) if params is None else (params.reward, params.done)
        received = jax.tree.map(lambda old, new: new.astype(old.dtype), env_state.action, action)
        return observation, Received(received), reward, done, no, {"final_observation": observation}

    def _zeros(self, space: Space) -> PyTree:
        element = jax.eval_shape(space.sample, jax.random.key(0))
        return jax.tree.map(lambda x: jnp.zeros((self.batch_size, *x.shape), x.dtype), element)

    def _with_parts(self, observation: PyTree) -> PyTree:
        agents, num_envs = self.env.num_agents, self.num_envs
        every = jnp.broadcast_to(jnp.eye(agents)[None], (num_envs, agents, agents)).reshape(self.batch_size, agents)
        parts: dict[str, Any] = {"agent_id": every, "global_state": jnp.zeros((self.batch_size, 1))}
        added = {name: parts[name] for name in parts if name in self.env.agents_parts}
        if not added:
            return observation
        return {**(observation if isinstance(observation, Mapping) else {OWN: observation}), **added}
