"""The base class of every wrapper."""

from __future__ import annotations

from typing import Any

import numpy as np

from memorax.environments.environment import Environment, MemoryOption
from memorax.environments.spaces import Space
from memorax.types import Key, PyTree


class Wrapper(Environment):
    """An environment that passes on what it does not change.

    There are three kinds. A `Transform` changes what passes between agent and environment; a `BatchWrapper` shares
    something over a batch; a wrapper that decides when episodes end implements `step_env` itself, never `step`, so
    that `info["final_observation"]` and the observation after a reset are what the wrapper makes of them.

    Attributes:
        env: the environment inside.
        keyword: the keyword and the value that `make` applied it by; None where it was applied otherwise.
    """

    keyword: tuple[str, Any] | None = None

    def __init__(self, env: Environment) -> None:
        self.env = env

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def default_params(self) -> PyTree:
        return self.env.default_params

    @property
    def batch_only(self) -> bool:
        return self.env.batch_only

    @property
    def has_agents(self) -> bool:
        return self.env.has_agents

    @property
    def num_agents(self) -> int:
        return self.env.num_agents

    @property
    def has_running_statistics(self) -> bool:
        return self.env.has_running_statistics

    def num_fresh_states(self, num_envs: int) -> int:
        return self.env.num_fresh_states(num_envs)

    @property
    def on_host(self) -> bool:
        return self.env.on_host

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        return self.env.reset(key, params)

    def observation_space(self, params: PyTree) -> Space:
        return self.env.observation_space(params)

    def action_space(self, params: PyTree) -> Space:
        return self.env.action_space(params)

    def memory_option(self, params: PyTree) -> MemoryOption | None:
        return self.env.memory_option(params)

    @property
    def renders(self) -> bool:
        return self.env.renders

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        return self.env.render(self.inner_state(env_state), params)

    def inner_state(self, env_state: PyTree) -> PyTree:
        """The state of the environment inside; a wrapper with a state of its own overrides it."""
        return env_state
