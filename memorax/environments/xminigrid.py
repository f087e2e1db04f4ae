"""Environments of the `xminigrid` package: MiniGrid and XLand-MiniGrid.

Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", 2023.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import xminigrid
from xminigrid.core.constants import NUM_COLORS, NUM_TILES

from memorax.environments.adaptation import as_written, like, positive, raw_key, strong
from memorax.environments.adapted import AdaptedEnvironment
from memorax.environments.environment import Environment, StepResult
from memorax.environments.options import check_options
from memorax.environments.spaces import Box, Discrete, Space
from memorax.types import Key, PyTree


def ids() -> list[str]:
    """The names `make` knows: those of xminigrid, with the ones the user registered there."""
    return list(xminigrid.registered_environments())


def make(id: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """Make an environment; `kwargs` override fields of its parameters, each a whole number (`max_steps`, `view_size`).

    Raises:
        ValueError: if there is no such field, or it is not valid.
    """
    name = f"xminigrid::{id}"
    with as_written():
        env, params = xminigrid.make(id)
    sizes = [field.name for field in dataclasses.fields(params) if isinstance(getattr(params, field.name), int)]
    check_options(name, kwargs, sizes)
    params = params.replace(**{option: positive(name, option, value) for option, value in kwargs.items()})
    return XMiniGridEnvironment(env, params, id), params


class XMiniGridEnvironment(AdaptedEnvironment):
    """An XLand-MiniGrid environment under our protocol; every episode has a layout of its own."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        with as_written():
            timestep = strong(self.env.reset(params, raw_key(key)))
        return timestep.observation, timestep

    def step_env(self, key: Key, env_state: PyTree, action: PyTree, params: PyTree) -> StepResult:
        with as_written():
            timestep = like(env_state, self.env.step(params, env_state, action))
        terminated = timestep.last() & (timestep.discount == 0)
        truncated = timestep.last() & (timestep.discount == 1)
        return timestep.observation, timestep, jnp.asarray(timestep.reward, jnp.float32), terminated, truncated, {}

    def observation_space(self, params: PyTree) -> Space:
        return Box(0, max(NUM_TILES, NUM_COLORS) - 1, self.env.observation_shape(params), jnp.uint8)

    def action_space(self, params: PyTree) -> Space:
        return Discrete(self.env.num_actions(params))

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        with as_written():
            return np.asarray(self.env.render(params, env_state), np.uint8)
