"""Environments of the `gymnasium` package, and of every package that registers its own there.

An environment whose `info` has an `action_mask` (Taxi) is observed as a dictionary of `observation` and `action_mask`.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import ExitStack
from numbers import Integral, Real
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator

from memorax.environments.environment import describe_returned
from memorax.environments.gymnasium_spaces import convert, to_gymnasium, to_ours
from memorax.environments.host import HostBatch, HostEnvironment, HostStep, WorkerBatch
from memorax.environments.options import check_options, constructor_options
from memorax.environments.spaces import Dict, Discrete, action_mask_space
from memorax.types import PyTree

OWN_OPTIONS = ("log_info", "num_workers")
COMMON_OPTIONS = ("max_episode_steps", "render_mode", *OWN_OPTIONS)
PICTURE = "rgb_array"
MASK = "action_mask"


def ids() -> list[str]:
    """The ids that are registered, in the order in which they were."""
    return list(gymnasium.registry)


def make(id: str, **kwargs: Any) -> tuple[HostEnvironment, None]:
    """Make an environment.

    Args:
        id: the id that is registered, or `"module:Id"` once that module is imported.
        kwargs: arguments of its constructor; `max_episode_steps`; `num_workers`, processes that step the environments,
            by default none but this one; `log_info`, names of numbers in the environment's `info` to keep, float32 and
            NaN where a step does not report them.

    Raises:
        ValueError: if there is no such argument, a value is not valid, or a space is not supported.
        ImportError: if a package the environment needs is missing.
    """
    name = f"gymnasium::{id}"
    spec = gymnasium.registry[id.rpartition(":")[2]]
    log_info, num_workers = _own_options(name, kwargs)
    kwargs = {option: value for option, value in kwargs.items() if option not in OWN_OPTIONS}
    try:
        _check_options(name, spec, kwargs)
        env = make_one(spec, kwargs)
        try:
            for space in ("observation_space", "action_space"):
                if getattr(env, space, None) is None:
                    raise ValueError(f"{name} has no {space}: set it in the environment's constructor")
            observation_space, action_space = convert(env.observation_space, name), convert(env.action_space, name)
            masked = isinstance(action_space, Discrete) and MASK in _reset(name, env, seed=0)[1]
            draws = PICTURE in (env.metadata.get("render_modes") or ())
        finally:
            env.close()
    except ImportError as error:
        raise ImportError(f"{name} needs a package that is missing: {' '.join(str(error).split())}") from error
    except gymnasium.error.Error as error:
        raise ValueError(f"{name} cannot be made: {' '.join(str(error).split())}") from error
    if masked:
        observation_space = Dict({"observation": observation_space, MASK: action_mask_space(action_space)})
    if draws and _can_be_asked_for_pictures(spec, kwargs):
        # Pictures need no sound, and pygame would complain of machines without any.
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
        kwargs = {"render_mode": PICTURE, **kwargs}
    make_batch: Callable[[int], HostBatch] = functools.partial(
        GymnasiumBatch, name, functools.partial(make_one, spec, kwargs), log_info, masked
    )
    if num_workers:
        make_batch = functools.partial(WorkerBatch, name, make_batch, num_workers)
    renders = kwargs.get("render_mode") == PICTURE
    return HostEnvironment(name, make_batch, observation_space, action_space, renders, log_info), None


def make_one(spec: EnvSpec, kwargs: dict[str, Any]) -> gymnasium.Env:
    """One environment, without the checks that gymnasium makes of its author's work."""
    return gymnasium.make(spec, disable_env_checker=True, **kwargs)


class GymnasiumBatch(HostBatch):
    """Environments stepped one after the other.

    Args:
        name: name of the environment, for messages.
        make_env: function that makes one environment.
        log_info: keys of the environments' `info` to report.
        masked: whether `info` says which actions are legal.
        num_envs: number of environments in the batch.
    """

    def __init__(
        self,
        name: str,
        make_env: Callable[[], gymnasium.Env],
        log_info: tuple[str, ...],
        masked: bool,
        num_envs: int,
    ) -> None:
        self.name, self.log_info, self.masked = name, log_info, masked
        self.reported = {key: np.full(num_envs, np.nan, np.float32) for key in log_info}
        self.envs: list[gymnasium.Env] = []
        try:
            for _ in range(num_envs):
                self.envs.append(make_env())
        except BaseException:
            self.close()
            raise
        self.observation_space, self.action_space = self.envs[0].observation_space, self.envs[0].action_space

    def reset(self, seeds: np.ndarray) -> PyTree:
        first = [_reset(self.name, env, seed=int(seed)) for env, seed in zip(self.envs, seeds, strict=True)]
        return _stack([self._observe(observation, info) for observation, info in first])

    def step(self, action: PyTree) -> HostStep:
        observations, rewards, terminated, truncated, final_observations = [], [], [], [], []
        for index, env in enumerate(self.envs):
            chosen = to_gymnasium(self.action_space, jax.tree.map(lambda x, i=index: x[i], action))
            returned = env.step(chosen)
            if not isinstance(returned, tuple) or len(returned) != 5:
                values = "(observation, reward, terminated, truncated, info)"
                raise ValueError(f"step of {self.name} must return {values}, and not {describe_returned(returned)}")
            observation, reward, ended, cut, info = returned
            for key, values in self.reported.items():
                values[index] = self._number(key, info.get(key, np.nan))
            final_observation = observation = self._observe(observation, info)
            ended = bool(self._single("truth value", "terminated", ended))
            cut = bool(self._single("truth value", "truncated", cut))
            if ended or cut:
                # An environment may write its first observation over its last.
                final_observation = jax.tree.map(np.copy, final_observation)
                observation = self._observe(*_reset(self.name, env))
            observations.append(observation)
            rewards.append(self._single("number", "reward", reward))
            terminated.append(ended)
            truncated.append(cut)
            final_observations.append(final_observation)
        ends = np.asarray(terminated, bool), np.asarray(truncated, bool)
        stacked = _stack(final_observations)
        after = _stack(observations) if np.any(ends) else stacked
        return after, np.asarray(rewards, np.float32), *ends, stacked

    def info(self) -> dict[str, np.ndarray]:
        return {key: np.copy(values) for key, values in self.reported.items()}

    def _observe(self, observation: Any, info: dict[str, Any]) -> PyTree:
        try:
            ours = to_ours(self.observation_space, observation)
        except ValueError as error:
            raise ValueError(f"{self.name} returned an observation that is none of its space: {error}") from error
        return {"observation": ours, MASK: np.asarray(info[MASK], bool)} if self.masked else ours

    def close(self) -> None:
        with ExitStack() as stack:
            for env in self.envs:
                stack.callback(env.close)

    def render(self, index: int) -> np.ndarray:
        try:
            return np.asarray(self.envs[index].render(), np.uint8)
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f"pictures need a package that is missing: {' '.join(str(error).split())}") from error

    def _single(self, kind: str, name: str, value: Any) -> Any:
        """A number or truth value, which may come in an array of one element."""
        if isinstance(value, float | bool | np.generic):
            return value
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            raise ValueError(f"step of {self.name} must return one {kind} as {name}, not {value!r:.80}")
        return array.item()

    def _number(self, key: str, value: Any) -> float:
        if np.ndim(value) or not isinstance(value, Real | np.bool_ | np.ndarray):
            raise ValueError(f"log_info ({key!r}) of {self.name} must name a number: info[{key!r}] is {value!r:.80}")
        return float(value)


def _stack(elements: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *x: np.stack(x), *elements)


def _own_options(name: str, kwargs: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    """`log_info` and `num_workers`, 0 where it is not given."""
    log_info, num_workers = kwargs.get("log_info", ()), kwargs.get("num_workers", 0)
    log_info = (log_info,) if isinstance(log_info, str) else tuple(log_info)
    if not all(isinstance(key, str) for key in log_info):
        raise ValueError(
            f"log_info ({log_info!r}) of {name} must be names in the environment's info, such as 'success'"
        )
    if not isinstance(num_workers, Integral) or isinstance(num_workers, bool) or num_workers < 0:
        raise ValueError(f"num_workers ({num_workers!r}) of {name} must be a number of processes, 0 for none")
    return log_info, int(num_workers)


def _reset(name: str, env: gymnasium.Env, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Start an episode. Returns `(observation, info)`."""
    try:
        returned = env.reset(seed=seed)
    except TypeError as error:
        if "'seed'" not in str(error):
            raise
        raise ValueError(f"reset of {name} must take seed and options, as in gymnasium since 0.26: {error}") from error
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(f"reset of {name} must return (observation, info), and not {describe_returned(returned)}")
    return returned


def _check_options(name: str, spec: EnvSpec, kwargs: dict[str, Any]) -> None:
    """Check options against the constructor, unless it takes any."""
    creator = _creator(spec)
    if not _takes_any(creator):
        check_options(name, kwargs, {*constructor_options(creator), *COMMON_OPTIONS})


def _can_be_asked_for_pictures(spec: EnvSpec, kwargs: dict[str, Any]) -> bool:
    """Whether the constructor takes `render_mode`: a subclass may not, although it inherits what it says of itself."""
    creator = _creator(spec)
    if "render_mode" in constructor_options(creator) or not _takes_any(creator):
        return "render_mode" in constructor_options(creator)
    try:  # a constructor that takes anything may hand it on to one that does not
        make_one(spec, {"render_mode": PICTURE, **kwargs}).close()
    except TypeError:
        return False
    return True


def _creator(spec: EnvSpec) -> Callable[..., gymnasium.Env]:
    """The class or function that makes the environment."""
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    return creator


def _takes_any(creator: Callable[..., Any]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(creator).parameters.values())
