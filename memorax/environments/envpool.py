"""Environments of the `envpool` package (Weng et al., 2022), stepped in threads of its own."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import envpool
import jax
import numpy as np
from gymnasium import spaces as gymnasium_spaces

from memorax.environments.gymnasium_spaces import convert, to_gymnasium, to_ours
from memorax.environments.host import HostBatch, HostEnvironment, HostStep
from memorax.environments.options import check_options
from memorax.types import PyTree

SETTLED = ("num_envs", "batch_size", "seed", "env_seed", "max_num_players", "base_path", "gym_reset_return_info")
"""Settings of a pool that follow from what a batch is."""


def ids() -> list[str]:
    """The names of the package's environments."""
    return list(envpool.list_all_envs())


def make(id: str, **kwargs: Any) -> tuple[HostEnvironment, None]:
    """Make an environment; `kwargs` are settings of its specification, `max_episode_steps` for instance.

    Images that come with their channels first are observed with their channels last.

    Raises:
        ValueError: if there is no such setting, a value is not valid, several agents act in the environment, or a space
            is not supported.
    """
    name = f"envpool::{id}"
    settings = envpool.make_spec(id).config._asdict()
    check_options(name, kwargs, [option for option in settings if option not in SETTLED])
    try:
        spec = envpool.make_spec(id, **kwargs)
    except (TypeError, ValueError) as error:
        expected = {option: settings[option] for option in kwargs}
        raise ValueError(f"{name} cannot be made with {kwargs}: values must be of the kind of {expected}") from error
    if spec.config.max_num_players > 1:
        raise ValueError(f"{name} has {spec.config.max_num_players} agents: only environments of one are supported")
    with _quiet():
        observation_space, action_space = spec.gymnasium_observation_space, spec.gymnasium_action_space
    make_batch = functools.partial(EnvpoolBatch, id, kwargs)
    spaces = convert(channels_last_space(repaired(observation_space)), name), convert(action_space, name)
    return HostEnvironment(name, make_batch, *spaces), None


class EnvpoolBatch(HostBatch):
    """A pool whose environments are stepped together.

    Args:
        id: id of the environment.
        settings: settings of its specification.
        num_envs: number of environments in the batch.
    """

    def __init__(self, id: str, settings: dict[str, Any], num_envs: int) -> None:
        self.id, self.settings, self.num_envs = id, settings, num_envs
        self.pool: Any = None

    def reset(self, seeds: np.ndarray) -> PyTree:
        fixed = {"env_type": "gymnasium", "num_envs": self.num_envs, "seed": [int(seed) for seed in seeds]}
        with _quiet():
            self.pool = envpool.make(self.id, **fixed, **self.settings)
            self.observation_space, self.action_space = (
                self.pool.single_observation_space,
                self.pool.single_action_space,
            )
        return self._observe(self.pool.reset()[0])

    def step(self, action: PyTree) -> HostStep:
        observation, reward, terminated, truncated, _ = self.pool.step(to_gymnasium(self.action_space, action))
        final_observation = observation = self._observe(observation)
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            # Left alone, the pool would take another step of its own to start the next episode.
            first = self._observe(self.pool.reset(ended.astype(np.int32))[0])
            observation = jax.tree.map(np.copy, final_observation)
            jax.tree.map(lambda x, new: x.__setitem__(ended, new), observation, first)
        return observation, np.asarray(reward, np.float32), terminated, truncated, final_observation

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()

    def _observe(self, observation: Any) -> PyTree:
        return channels_last(self.observation_space, to_ours(self.observation_space, observation))


def channels_last_space(space: Any) -> Any:
    """The space with its images, if they have their channels first, turned round."""
    if isinstance(space, gymnasium_spaces.Dict):
        return gymnasium_spaces.Dict({name: channels_last_space(inner) for name, inner in space.spaces.items()})
    if not _has_channels_first(space):
        return space
    return gymnasium_spaces.Box(np.moveaxis(space.low, 0, 2), np.moveaxis(space.high, 0, 2), dtype=space.low.dtype.type)


def channels_last(space: Any, observation: PyTree) -> PyTree:
    """A batch of elements of `space` as elements of `channels_last_space(space)`."""
    if isinstance(space, gymnasium_spaces.Dict):
        return {name: channels_last(inner, observation[name]) for name, inner in space.spaces.items()}
    return np.ascontiguousarray(np.moveaxis(observation, 1, 3)) if _has_channels_first(space) else observation


def repaired(space: Any) -> Any:
    """The space with its lower bounds at minus infinity where the package has the smallest positive number for it."""
    if isinstance(space, gymnasium_spaces.Dict):
        return gymnasium_spaces.Dict({name: repaired(inner) for name, inner in space.spaces.items()})
    if not isinstance(space, gymnasium_spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        return space
    low = np.where(space.low == np.finfo(space.low.dtype).tiny, -np.inf, space.low)
    return gymnasium_spaces.Box(low.astype(space.low.dtype), space.high, dtype=space.low.dtype.type)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that gymnasium gives of the package's own bounds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*precision lowered by casting")
        yield


def _has_channels_first(space: Any) -> bool:
    shape = space.shape
    return isinstance(space, gymnasium_spaces.Box) and len(shape) == 3 and shape[0] < min(shape[1:])
