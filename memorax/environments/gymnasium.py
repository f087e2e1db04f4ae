"""Environments of the `gymnasium` package, and of every package that registers its own there."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.envs.registration import load_env_creator

from memorax.environments.gymnasium_spaces import convert, to_gymnasium, to_ours
from memorax.environments.host import HostBatch, HostEnvironment, HostStep
from memorax.environments.options import check_options, constructor_options
from memorax.types import PyTree

COMMON_OPTIONS = ("max_episode_steps", "render_mode")
PICTURE = "rgb_array"


def ids() -> list[str]:
    """The ids that are registered, in the order in which they were."""
    return list(gymnasium.registry)


def make(id: str, **kwargs: Any) -> tuple[HostEnvironment, None]:
    """Make an environment; `kwargs` are arguments of its constructor, or `max_episode_steps`.

    Raises:
        ValueError: if there is no such argument, a value is not valid, or a space is not supported.
        ImportError: if a package the environment needs is missing.
    """
    name = f"gymnasium::{id}"
    spec = gymnasium.registry[id]
    try:
        _check_options(name, spec.entry_point, kwargs)
        env = make_one(id, kwargs)
    except ImportError as error:
        raise ImportError(f"{name} needs a package that is missing: {' '.join(str(error).split())}") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"{name} cannot be made: {' '.join(str(error).split())}") from error
    try:
        observation_space, action_space = convert(env.observation_space, name), convert(env.action_space, name)
        if PICTURE in (env.metadata.get("render_modes") or ()):
            # Pictures need no sound, and pygame would complain of machines without any.
            os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
            kwargs = {"render_mode": PICTURE, **kwargs}
    finally:
        env.close()
    make_batch = functools.partial(GymnasiumBatch, functools.partial(make_one, id, kwargs))
    renders = kwargs.get("render_mode") == PICTURE
    return HostEnvironment(name, make_batch, observation_space, action_space, renders), None


def make_one(id: str, kwargs: dict[str, Any]) -> gymnasium.Env:
    """One environment, without the checks that gymnasium makes of its author's work."""
    return gymnasium.make(id, disable_env_checker=True, **kwargs)


class GymnasiumBatch(HostBatch):
    """Environments stepped one after the other.

    Args:
        make_env: makes one.
        num_envs: how many.
    """

    def __init__(self, make_env: Callable[[], gymnasium.Env], num_envs: int) -> None:
        self.envs: list[gymnasium.Env] = []
        try:
            for _ in range(num_envs):
                self.envs.append(make_env())
        except BaseException:
            self.close()
            raise
        self.observation_space, self.action_space = self.envs[0].observation_space, self.envs[0].action_space

    def reset(self, seeds: np.ndarray) -> PyTree:
        first = [env.reset(seed=int(seed))[0] for env, seed in zip(self.envs, seeds, strict=True)]
        return _stack([to_ours(self.observation_space, observation) for observation in first])

    def step(self, action: PyTree) -> HostStep:
        observations, rewards, terminated, truncated, final_observations = [], [], [], [], []
        for index, env in enumerate(self.envs):
            chosen = to_gymnasium(self.action_space, jax.tree.map(lambda x, i=index: x[i], action))
            observation, reward, ended, cut, _ = env.step(chosen)
            final_observation = observation = to_ours(self.observation_space, observation)
            if ended or cut:
                # An environment may write its first observation over its last.
                final_observation = jax.tree.map(np.copy, final_observation)
                observation = to_ours(self.observation_space, env.reset()[0])
            observations.append(observation)
            rewards.append(reward)
            terminated.append(ended)
            truncated.append(cut)
            final_observations.append(final_observation)
        ends = np.asarray(terminated, bool), np.asarray(truncated, bool)
        stacked = _stack(final_observations)
        after = _stack(observations) if np.any(ends) else stacked
        return after, np.asarray(rewards, np.float32), *ends, stacked

    def close(self) -> None:
        with ExitStack() as stack:
            for env in self.envs:
                stack.callback(env.close)

    def render(self, index: int) -> np.ndarray:
        try:
            return np.asarray(self.envs[index].render(), np.uint8)
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"pictures need a package that is missing: {' '.join(str(error).split())}") from error


def _stack(elements: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *x: np.stack(x), *elements)


def _check_options(name: str, entry_point: Any, kwargs: dict[str, Any]) -> None:
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    kinds = [parameter.kind for parameter in inspect.signature(creator).parameters.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        check_options(name, kwargs, {*constructor_options(creator), *COMMON_OPTIONS})
