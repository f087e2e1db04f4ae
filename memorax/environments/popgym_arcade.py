"""Environments of the `popgym-arcade` package: memory tasks seen as pixels.

Wang et al., "POPGym Arcade: Parallel Pixelated POMDPs", 2025.
"""

from __future__ import annotations

import importlib
import types
from typing import Any, Generic, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments import spaces
from memorax.environments.adaptation import as_written, cast, like, standing_in, strong
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Space
from memorax.types import Array, Key, PyTree

State = TypeVar("State")
Params = TypeVar("Params")


@chex.dataclass(frozen=True)
class _State:
    time: int


@chex.dataclass(frozen=True)
class _Params:
    max_steps_in_episode: int = 1


class _Environment(Generic[State, Params]):
    """What the package's environments inherit."""

    @property
    def name(self) -> str:
        return type(self).__name__

    def discount(self, state: Any, params: Any) -> Array:
        return jnp.where(self.is_terminal(state, params), 0.0, 1.0)

    def is_terminal(self, state: Any, params: Any) -> Array:
        raise NotImplementedError


def _import_registration() -> Any:
    """Import the package upon what it uses of `gymnax`, which is the classes above and spaces like ours.

    It is written for a fork of gymnax that installs itself under the same name, so that at most one of the two is
    there: with these in its place, whichever it is, both suites work.
    """
    stand_in = types.ModuleType("gymnax.environments")
    base = types.SimpleNamespace(Environment=_Environment, EnvState=_State, EnvParams=_Params)
    vars(stand_in).update(environment=base, spaces=spaces)
    with as_written(), standing_in(dict.fromkeys(("gymnax", "gymnax.environments"), stand_in)):
        return importlib.import_module("popgym_arcade.registration")


registration = _import_registration()


def ids() -> list[str]:
    """The names `make` knows."""
    return list(registration.REGISTERED_ENVIRONMENTS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment.

    Args:
        id: name of the environment in the suite.
        kwargs: `partial_obs`, whether what must be remembered is hidden, and `obs_size`, 128 or 256 pixels a side.

    Raises:
        ValueError: if there is no such option, or it is not valid.
    """
    name = f"popgym_arcade::{id}"
    check_options(name, kwargs, ["partial_obs", "obs_size"])
    if kwargs.get("obs_size", 128) not in (128, 256):
        raise ValueError(f"obs_size ({kwargs['obs_size']!r}) of {name} must be 128 or 256")
    with as_written():
        env, params = registration.make(id, **kwargs)
    return PopgymArcadeEnvironment(env, params, id), params


class PopgymArcadeEnvironment(AdaptedEnvironment):
    """A POPGym Arcade environment under our protocol.

    Where the package reports both ends of an episode at its time limit, it is the limit that ended it.

    Args:
        env: the environment.
        default_params: the parameters it is used with unless others are given.
        name: id of the environment.
    """

    def __init__(self, env: Any, default_params: PyTree, name: str) -> None:
        super().__init__(env, default_params, name)
        self._observation_space = env.observation_space(default_params)

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            observation, state = self.env.reset_env(key, params)
        return cast(self._observation_space, observation), strong(state)

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with as_written():
            observation, state, reward, done, info = self.env.step_env(key, env_state, action, params)
        truncated = jnp.asarray(info["truncated"], bool)
        terminated = (jnp.asarray(done, bool) | jnp.asarray(info["terminated"], bool)) & ~truncated
        observation = cast(self._observation_space, observation)
        return observation, like(env_state, state), jnp.asarray(reward, jnp.float32), terminated, truncated, {}

    def observation_space(self, params: PyTree) -> Space:
        return self._observation_space

    def action_space(self, params: PyTree) -> Space:
        return self.env.action_space(params)

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        # Noise is drawn into some pictures.
        extras = {"params": params, "key": jax.random.key(0)}
        with as_written():
            known = {name: extras[name] for name in constructor_options(self.env.render) if name in extras}
            return np.asarray(self.env.render(env_state, **known), np.uint8)
