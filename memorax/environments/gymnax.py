"""Environments of the `gymnax` package, of both its generations.

From 1.0 on an environment tells apart what ends an episode from its time limit. Before, `done` is set by both, and
the adapter takes them apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.adaptation import NO_TIME_LIMIT, as_written, cast, convert_space, like, replace_fields, strong
from memorax.environments.environment import Environment, MemoryOption, StepResult
from memorax.environments.gymnax_pictures import PICTURES, draw_image
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Box, Space
from memorax.types import Array, Key, PyTree

MEMORY_OPTIONS = {"MemoryChain-bsuite": "memory_length"}
"""The parameter that sets how long a task must be remembered."""


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
    return adapt(name, env, params, {option: value for option, value in kwargs.items() if option in fields})


def adapt(
    name: str, env: Any, params: PyTree, options: dict[str, Any], of_constructor: Iterable[str] = ()
) -> tuple[Environment, PyTree]:
    """An environment that is written for gymnax, the package's or one's own, and its parameters.

    Args:
        name: what it is called, for messages.
        env: the environment, of either generation.
        params: its parameters; its default ones where this is None.
        options: fields of the parameters, each in place of its value.
        of_constructor: options that its constructor was given or could have been, for messages.

    Raises:
        ValueError: if there is no such field, or one is given something that is no number.
    """
    params = env.default_params if params is None else params
    check_options(name, options, [*(field.name for field in dataclasses.fields(params)), *of_constructor])
    params = replace_fields(name, params, options)
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
        return getattr(self.env, "name", type(self.env).__name__)

    @property
    def default_params(self) -> PyTree:
        return self._default_params

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            observation, state = self.env.reset_env(key, params)
        return cast(self._observation_space, observation), strong(state)

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with as_written():
            observation, state, reward, done, info = self.env.step_env(key, env_state, action, params)
            terminated, truncated = self._ends(key, env_state, action, params, state, done)
        state = like(env_state, state)
        observation = cast(self._observation_space, observation)
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

    def memory_option(self, params: PyTree) -> MemoryOption | None:
        option = MEMORY_OPTIONS.get(self.name)
        return None if option is None else MemoryOption(option, int(getattr(params, option)))

    @property
    def renders(self) -> bool:
        return self.name in PICTURES or self._observes_images

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        """Classic control from the state; grids and images as they are observed."""
        if self.name in PICTURES:
            return PICTURES[self.name](env_state)
        if not self._observes_images:
            return super().render(env_state, params)
        with as_written():
            return draw_image(np.asarray(cast(self._observation_space, self.env.get_obs(env_state))))

    @property
    def _observes_images(self) -> bool:
        space = self._observation_space
        return isinstance(space, Box) and len(space.shape) in (2, 3) and min(space.shape[:2]) > 1

    def observation_space(self, params: PyTree) -> Space:
        with jax.ensure_compile_time_eval():
            space = self.env.observation_space(params)
        return convert_space(space, f"gymnax::{self.name}")

    def action_space(self, params: PyTree) -> Space:
        with jax.ensure_compile_time_eval():
            space = self.env.action_space(params)
        return convert_space(space, f"gymnax::{self.name}")
