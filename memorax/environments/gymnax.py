"""Environments of the `gymnax` package, of both its generations.

From 1.0 on an environment tells apart what ends an episode from its time limit. Before, `done` is set by both, and
the adapter takes them apart.
"""

from __future__ import annotations

import dataclasses
import numbers
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces as gymnax_spaces

from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Box, Dict, Discrete, Space
from memorax.types import Array, Key, PyTree

NO_TIME_LIMIT = np.iinfo(np.int32).max


def ids() -> list[str]:
    """The names `make` knows: those of gymnax, with the ones the user registered there."""
    return list(gymnax.registered_envs)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` override fields of its parameters and arguments of its constructor.

    Raises:
        ValueError: if there is no such field or argument, or a field is given something that is no number.
        OSError: if the environment downloads its data and cannot.
    """
    name = f"gymnax::{id}"
    try:
        env, params = gymnax.make(id)
        fields = [field.name for field in dataclasses.fields(params)]
        arguments = constructor_options(type(env))
        check_options(name, kwargs, [*fields, *arguments])
        built_with = {option: value for option, value in kwargs.items() if option not in fields}
        if built_with:
            env, params = gymnax.make(id, **built_with)
    except OSError as error:
        raise OSError(f"{name} downloads its data when it is made, and could not: {error}") from error
    overrides = {option: value for option, value in kwargs.items() if option in fields}
    for option, value in overrides.items():
        if not isinstance(value, numbers.Number | np.ndarray | jax.Array):
            raise ValueError(f"{option} ({value!r}) of {name} must be a number or an array")
    params = dataclasses.replace(params, **overrides)
    return GymnaxEnvironment(env, params), params


class GymnaxEnvironment(Environment):
    """A gymnax environment under our protocol.

    Observations are cast to the type their space declares, rewards to float32. `info` has no `discount`: it says
    what `terminated` says, and before 1.0 it is 0 at a time limit too.

    Args:
        env: the environment, of either generation.
        default_params: the parameters it is used with unless others are given.
    """

    def __init__(self, env: Any, default_params: PyTree) -> None:
        self.env = env
        self._default_params = default_params
        self._observation_space = self.observation_space(default_params)
        self._knows_truncation = callable(getattr(env, "is_truncated", None))

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def default_params(self) -> PyTree:
        return self._default_params

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with _as_gymnax_expects():
            observation, state = self.env.reset_env(key, params)
        # Python numbers in the state become arrays with a type of their own: one compilation for every later call.
        state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)
        return _cast(self._observation_space, observation), state

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with _as_gymnax_expects():
            observation, state, reward, done, info = self.env.step_env(key, env_state, action, params)
            terminated, truncated = self._ends(key, env_state, action, params, state, done)
        state = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), state, env_state)
        observation = _cast(self._observation_space, observation)
        info = {name: value for name, value in info.items() if name != "discount"}
        return observation, state, jnp.asarray(reward, jnp.float32), terminated, truncated & ~terminated, info

    def _ends(
        self, key: Key, env_state: PyTree, action: PyTree, params: PyTree, state: PyTree, done: Array
    ) -> tuple[Array, Array]:
        """Whether the step to `state` ended the episode by itself, and whether it met the time limit."""
        if self._knows_truncation:
            return jnp.asarray(done, bool), jnp.asarray(self.env.is_truncated(state, params), bool)
        # The same step where there is no time limit; the compiler keeps of it only what `done` needs.
        endless = dataclasses.replace(params, max_steps_in_episode=NO_TIME_LIMIT)
        terminated = self.env.step_env(key, env_state, action, endless)[3]
        return jnp.asarray(terminated, bool), jnp.asarray(state.time >= params.max_steps_in_episode, bool)

    def observation_space(self, params: PyTree) -> Space:
        # Bounds are values, also where a space is asked for while something is being compiled.
        with jax.ensure_compile_time_eval():
            return _convert(self.env.observation_space(params), self.name)

    def action_space(self, params: PyTree) -> Space:
        with jax.ensure_compile_time_eval():
            return _convert(self.env.action_space(params), self.name)


@contextmanager
def _as_gymnax_expects() -> Iterator[None]:
    """Run gymnax's code under the settings it was written for, whatever those of the user are.

    Swimmer adds arrays of different rank; releases before 1.0 ask for 64-bit integers where JAX has 32, and write
    integers into boolean arrays. None of it changes a result.
    """
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
        warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
        yield


def _convert(space: Any, name: str) -> Space:
    """Our space for a space of gymnax."""
    if isinstance(space, gymnax_spaces.Discrete):
        return Discrete(int(space.n), jax.dtypes.canonicalize_dtype(space.dtype))
    if isinstance(space, gymnax_spaces.Box):
        dtype = jax.dtypes.canonicalize_dtype(space.dtype)
        return Box(_bound(space.low, dtype), _bound(space.high, dtype), tuple(space.shape), dtype)
    if isinstance(space, gymnax_spaces.Dict):
        return Dict({key: _convert(inner, name) for key, inner in space.spaces.items()})
    raise ValueError(f"gymnax::{name} has a space that is not supported: {type(space).__name__}")


def _bound(bound: Any, dtype: Any) -> np.ndarray:
    """A bound of a `Box`; gymnax writes the largest float where it means unbounded."""
    bound = np.asarray(bound, dtype)
    if not np.issubdtype(dtype, np.floating):
        return bound
    return np.where(np.abs(bound) >= np.finfo(dtype).max, np.copysign(np.inf, bound), bound).astype(dtype)


def _cast(space: Space, observation: PyTree) -> PyTree:
    """The observation in the types of its space: some environments return others than they declare."""
    if isinstance(space, Dict):
        return {name: _cast(inner, observation[name]) for name, inner in space.spaces.items()}
    return jnp.asarray(observation, space.dtype)
