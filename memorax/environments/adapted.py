"""The base class of environments that adapt another package's JAX environment to our protocol."""

from __future__ import annotations

from typing import Any

from memorax.environments.environment import Environment
from memorax.types import PyTree


class AdaptedEnvironment(Environment):
    """An environment of another package under our protocol.

    Args:
        env: the environment, without an auto-reset.
        default_params: the parameters it is used with unless others are given.
        name: id of the environment.
    """

    def __init__(self, env: Any, default_params: PyTree, name: str) -> None:
        self.env = env
        self._default_params = default_params
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def default_params(self) -> PyTree:
        return self._default_params
