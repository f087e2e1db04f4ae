"""The base class of wrappers whose environments share something over the batch."""

from __future__ import annotations

import abc
from typing import NoReturn

from memorax.environments.environment import VectorEnvironment
from memorax.environments.wrappers.wrapper import Wrapper
from memorax.types import Key, PyTree


class BatchWrapper(Wrapper):
    """A wrapper whose work is done in the batch that its `vectorize` returns; one environment alone is not stepped."""

    @property
    def batch_only(self) -> bool:
        return True

    @abc.abstractmethod
    def vectorize(self, num_envs: int) -> VectorEnvironment: ...

    def reset(self, key: Key, params: PyTree) -> NoReturn:
        self._refuse("reset")

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> NoReturn:
        self._refuse("stepped")

    def _refuse(self, verb: str) -> NoReturn:
        raise ValueError(f"{type(self).__name__} shares statistics over a batch: it is {verb} by `vectorize(num_envs)`")
