"""What the agents of one environment observe beside their own observations: the global state, and who they are."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment, StepResult
from memorax.environments.multi_agent import AgentsState, MultiAgentEnvironment, MultiAgentVectorEnvironment
from memorax.environments.spaces import Box, Dict, Space
from memorax.environments.wrappers.flatten_observation import bounds, flatten
from memorax.environments.wrappers.parts import OWN, own_space, take_apart
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Array, Key, PyTree


class AgentsWrapper(Wrapper):
    """A wrapper that adds a part to the dictionary each agent observes; other observations become its `observation`.

    Args:
        env: an environment of several agents, or such a wrapper around one.

    Raises:
        ValueError: if it is neither, or observations have a part of that name.
    """

    part: str
    """Name of the part, which is also the keyword of the wrapper."""

    def __init__(self, env: Environment) -> None:
        if not isinstance(env, MultiAgentEnvironment | AgentsWrapper):
            raise ValueError(
                f"{self.part} (True) needs an environment of several agents, before other wrappers: {env.name} is not"
            )
        super().__init__(env)
        space = env.observation_space(env.default_params)
        if isinstance(space, Dict) and self.part in space.spaces:
            raise ValueError(f"{self.part} (True) cannot be added: observations of {env.name} have a part of that name")

    @abc.abstractmethod
    def show(self, env_state: AgentsState, observation: PyTree) -> Array:
        """The part for each agent, `[A, ...]`, given the observations of all."""

    @abc.abstractmethod
    def part_space(self, params: PyTree) -> Space:
        """The space of the part of one agent."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        observation, env_state = self.env.reset(key, params)
        return self._with_part(env_state, observation), env_state

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        observation, env_state, *rest = self.env.step_env(key, env_state, action, params)
        return self._with_part(env_state, observation), env_state, *rest

    def vectorize(self, num_envs: int) -> MultiAgentVectorEnvironment:
        return MultiAgentVectorEnvironment(self, num_envs)

    def observation_space(self, params: PyTree) -> Dict:
        space = self.env.observation_space(params)
        parts = space.spaces if isinstance(space, Dict) else {OWN: space}
        return Dict({**parts, self.part: self.part_space(params)})

    def _with_part(self, env_state: PyTree, observation: PyTree) -> dict[str, PyTree]:
        parts = observation if isinstance(observation, Mapping) else {OWN: observation}
        return {**parts, self.part: self.show(env_state, observation)}


class GlobalState(AgentsWrapper):
    """Show critics the state of the whole environment: `global_state`, one vector beside each agent's own observation.

    It is the environment's own where it has one, otherwise what all its agents observe, one after the other. Networks
    that act do not see it.

    Source: Yu et al., "The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games", 2022.
    """

    part = "global_state"

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        inside: Environment = env
        while isinstance(inside, AgentsWrapper):
            inside = inside.env
        assert isinstance(inside, MultiAgentEnvironment)
        self._inside = inside
        self._own_space = own_space(env)

    def show(self, env_state: AgentsState, observation: PyTree) -> Array:
        state = self._inside.global_state(env_state.env_state)
        if state is not None:
            return state
        own, _ = take_apart(observation)
        everything = jax.vmap(lambda one: flatten(self._own_space, one))(own).ravel()
        return jnp.broadcast_to(everything, (self.num_agents, everything.size))

    def part_space(self, params: PyTree) -> Box:
        _, env_state = jax.eval_shape(self.env.reset, jax.random.key(0), params)
        state = jax.eval_shape(self._inside.global_state, env_state.env_state)
        if state is not None:
            return Box(-np.inf, np.inf, state.shape[1:])
        low, high = (np.tile(bound, self.num_agents) for bound in bounds(self._own_space))
        return Box(low, high, low.shape)


class AgentId(AgentsWrapper):
    """Tell agents apart that share parameters: `agent_id`, a vector with a one at the agent's place.

    Source: Gupta et al., "Cooperative Multi-Agent Control Using Deep Reinforcement Learning", 2017.
    """

    part = "agent_id"

    def show(self, env_state: AgentsState, observation: PyTree) -> Array:
        return jnp.eye(self.num_agents)

    def part_space(self, params: PyTree) -> Box:
        return Box(0, 1, (self.num_agents,))
