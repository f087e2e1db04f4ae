"""The Ocean environments of the `pufferlib` package (Suarez, 2024), written in C and stepped as one batch."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces as gymnasium_spaces

try:
    ocean = importlib.import_module("pufferlib.ocean.environment")
except ImportError as error:
    raise ImportError(
        "the pufferlib environments need the Ocean environments of pufferlib 3, which pufferlib-core leaves out "
        f'({error}): pip install --no-deps pufferlib "gym<0.24" gym-notices cloudpickle, which builds them from source'
    ) from error

from memorax.environments.gymnasium_spaces import convert, to_gymnasium, to_ours
from memorax.environments.host import HostBatch, HostEnvironment, HostStep
from memorax.environments.options import check_options, constructor_options
from memorax.types import PyTree

SETTLED = ("num_envs", "buf", "seed", "render_mode")
"""Arguments that follow from what a batch is."""


def ids() -> list[str]:
    """The names of the Ocean environments, as the package spells them."""
    return [f"puffer_{name}" for name in ocean.MAKE_FUNCTIONS]


def make(id: str, **kwargs: Any) -> tuple[HostEnvironment, None]:
    """Make an environment; `kwargs` are arguments of its constructor.

    These environments start their next episode by themselves and do not keep what an episode ended with: where one
    ended, `final_observation` is the first of the next. After an end nothing is learned from it; a time limit that they
    report as such, which would need it, is an error. What they observe oversteps the bounds that they state: it is
    observed as unbounded numbers, unless it is an image.

    Raises:
        ValueError: if there is no such argument, or the environment is not one agent's in a batch of `num_envs`.
    """
    name = f"pufferlib::{id}"
    create = ocean.env_creator(id)
    options = constructor_options(create)
    if "num_envs" not in options:
        raise ValueError(f"{name} is not stepped in batches, and is not supported")
    check_options(name, kwargs, [option for option in options if option not in SETTLED])
    env = create(num_envs=2, **kwargs)
    try:
        if env.num_agents != 2:
            raise ValueError(f"{name} has several agents: only environments of one are supported")
        spaces = convert(observed(env.single_observation_space), name), convert(env.single_action_space, name)
    finally:
        env.close()
    return HostEnvironment(
        name, functools.partial(OceanBatch, name, functools.partial(create, **kwargs)), *spaces
    ), None


class OceanBatch(HostBatch):
    """Environments that share their arrays, which every step writes over.

    Args:
        name: name of the environment, for messages.
        create: function that makes the environments, given their number.
        num_envs: number of environments in the batch.
    """

    def __init__(self, name: str, create: Callable[..., Any], num_envs: int) -> None:
        self.name = name
        self.envs = create(num_envs=num_envs)

    def reset(self, seeds: np.ndarray) -> PyTree:
        # One seed is all that the package takes; it makes the environments differ by itself.
        return self._observe(self.envs.reset(seed=int(seeds[0]))[0])

    def step(self, action: PyTree) -> HostStep:
        observation, reward, terminated, truncated, _ = self.envs.step(
            to_gymnasium(self.envs.single_action_space, action)
        )
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        if np.any(truncated & ~terminated):
            raise ValueError(f"{self.name} met a time limit without keeping the observation that its value depends on")
        observation = self._observe(observation)
        return observation, np.array(reward, np.float32), terminated, truncated, observation

    def close(self) -> None:
        self.envs.close()

    def _observe(self, observation: np.ndarray) -> PyTree:
        return np.array(to_ours(observed(self.envs.single_observation_space), observation))


def observed(space: Any) -> Any:
    """The space that observations lie in: unbounded numbers, unless it is one of images."""
    if not isinstance(space, gymnasium_spaces.Box) or len(space.shape) == 3:
        return space
    return gymnasium_spaces.Box(-np.inf, np.inf, space.shape, np.float32)
