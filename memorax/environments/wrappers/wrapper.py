"""What every wrapper has in common: it is an environment around an environment."""

from __future__ import annotations

from memorax.environments.environment import Environment
from memorax.environments.spaces import Space
from memorax.types import Key, PyTree


class Wrapper(Environment):
    """An environment that passes on what it does not change.

    A member implements `step_env`, and `reset` or a space where it changes them. It wraps `step_env`, never `step`,
    so that `info["final_observation"]` and the observation after a reset are what the wrapper makes of them.

    Attributes:
        env: the environment inside.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def default_params(self) -> PyTree:
        return self.env.default_params

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        return self.env.reset(key, params)

    def observation_space(self, params: PyTree) -> Space:
        return self.env.observation_space(params)

    def action_space(self, params: PyTree) -> Space:
        return self.env.action_space(params)
