"""Environments of the `craftax` package: Craftax and Craftax-Classic, from symbols or pixels.

Matthews et al., "Craftax: A Lightning-Fast Benchmark for Open-Ended Reinforcement Learning", 2024.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from craftax import craftax_env

from memorax.environments.adaptation import (
    NO_TIME_LIMIT,
    as_written,
    cast,
    convert_space,
    like,
    raw_key,
    replace_fields,
    strong,
)
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options
from memorax.environments.spaces import Space
from memorax.types import Key, PyTree

IDS = ("Craftax-Symbolic-v1", "Craftax-Pixels-v1", "Craftax-Classic-Symbolic-v1", "Craftax-Classic-Pixels-v1")
ENVS_PER_FRESH_STATE = 16
"""The reset ratio of the package's own baselines: a world is dear to generate."""


def ids() -> list[str]:
    """The names `make` knows."""
    return list(IDS)


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` override fields of its parameters and of its static parameters (`map_size`).

    Raises:
        ValueError: if there is no such field, or a field is given something that is no number.
    """
    name = f"craftax::{id}"
    with as_written():
        env = craftax_env.make_craftax_env_from_name(id, auto_reset=False)
    params, static = env.default_params, env.default_static_params()
    fields, built_with = ([field.name for field in dataclasses.fields(group)] for group in (params, static))
    check_options(name, kwargs, [*fields, *built_with])
    layout = {option: value for option, value in kwargs.items() if option in built_with}
    if layout:
        with as_written():
            env = type(env)(dataclasses.replace(static, **layout))
    params = replace_fields(name, params, {option: value for option, value in kwargs.items() if option in fields})
    return CraftaxEnvironment(env, params, id), params


class CraftaxEnvironment(AdaptedEnvironment):
    """A Craftax environment under our protocol.

    A batch shares a first state for every 16 environments at each step, unless `optimistic_resets` says otherwise.
    `info` holds the achievements of an episode as it ends, 100 for one that was reached.

    Args:
        env: the environment, without its auto-reset.
        default_params: the parameters it is used with unless others are given.
        name: id of the environment.
    """

    def __init__(self, env: Any, default_params: PyTree, name: str) -> None:
        super().__init__(env, default_params, name)
        self._observation_space = self.observation_space(default_params)

    def num_fresh_states(self, num_envs: int) -> int:
        return math.ceil(num_envs / ENVS_PER_FRESH_STATE)

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            observation, state = self.env.reset_env(raw_key(key), params)
        return cast(self._observation_space, observation), strong(state)

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with as_written():
            observation, state, reward, done, info = self.env.step_env(raw_key(key), env_state, action, params)
            terminated = self.env.is_terminal(state, params.replace(max_timesteps=NO_TIME_LIMIT))
        state = like(env_state, state)
        terminated = jnp.asarray(terminated, bool)
        info = {name: value for name, value in info.items() if name != "discount"}
        observation = cast(self._observation_space, observation)
        return observation, state, jnp.asarray(reward, jnp.float32), terminated, done & ~terminated, info

    def observation_space(self, params: PyTree) -> Space:
        return convert_space(self.env.observation_space(params), f"craftax::{self.name}")

    def action_space(self, params: PyTree) -> Space:
        return convert_space(self.env.action_space(params), f"craftax::{self.name}")

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        with as_written():
            return np.asarray(self._renderer(env_state)).clip(0, 255).astype(np.uint8)

    @functools.cached_property
    def _renderer(self) -> Any:
        # Imported late: the textures take a minute to build on first use.
        package = "craftax.craftax_classic" if "Classic" in self.name else "craftax.craftax"
        size = importlib.import_module(f"{package}.constants").BLOCK_PIXEL_SIZE_HUMAN
        return importlib.import_module(f"{package}.renderer").make_craftax_pixel_renderer(size)
