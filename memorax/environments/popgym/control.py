"""What the tasks share in which a body is controlled that is observed in part, maybe through noise."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box
from memorax.types import Array, Key


@struct.dataclass
class ControlParams:
    """The time limit, in steps, and the standard deviation of the noise, `None` where there is none."""

    max_episode_length: Array | int
    noise_sigma: Array | float | None


class ControlTask(Environment):
    """A body under control.

    A member says how the body starts, moves, is rewarded and drawn, and what is observed of it: two numbers.

    Args:
        max_episode_length: the time limit, in steps.
        noise_sigma: standard deviation of what is added to observations, which are then clipped to their space.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer or `noise_sigma` is negative.
    """

    def __init__(self, max_episode_length: int, noise_sigma: float | None = None) -> None:
        check_max_episode_length(max_episode_length)
        if noise_sigma is not None:
            _check_noise_sigma(noise_sigma)
        self.max_episode_length = max_episode_length
        self.noise_sigma = noise_sigma

    @abc.abstractmethod
    def draw_initial_values(self, key: Key) -> Array:
        """What the state of a new episode is made of, `[N]`."""

    @abc.abstractmethod
    def initial_state(self, values: Array) -> Any:
        """The state that starts from such values."""

    @abc.abstractmethod
    def move(self, state: Any, action: Array, max_episode_length: Array | int) -> tuple[Any, Array, Array, Array]:
        """The state one step later, the reward, terminated and truncated."""

    @abc.abstractmethod
    def observe(self, state: Any) -> Array:
        """What is seen of the body without noise: float32, `[2]`."""

    @abc.abstractmethod
    def observation_space(self, params: ControlParams) -> Box:
        """The space of two numbers that noise is clipped to."""

    def observe_first(self, state: Any) -> Array:
        """What is seen at the start of an episode."""
        return self.observe(state)

    @property
    def default_params(self) -> ControlParams:
        return ControlParams(max_episode_length=self.max_episode_length, noise_sigma=self.noise_sigma)

    def reset(self, key: Key, params: ControlParams) -> tuple[Array, Any]:
        state_key, noise_key = jax.random.split(key)
        return self.start(_draw_noise(noise_key, params), self.draw_initial_values(state_key), params)

    def step_env(self, key: Key, env_state: Any, action: Array, params: ControlParams) -> StepResult:
        return self.advance(_draw_noise(key, params), env_state, action, params)

    def start(self, noise: Array, values: Array, params: ControlParams) -> tuple[Array, Any]:
        """`reset`, given the noise `[2]` and the initial values that are drawn."""
        state = self.initial_state(values)
        return self._add(noise, self.observe_first(state), params), state

    def advance(self, noise: Array, env_state: Any, action: Array, params: ControlParams) -> StepResult:
        """`step_env`, given the noise `[2]` that is drawn."""
        state, reward, terminated, truncated = self.move(env_state, action, params.max_episode_length)
        return self._add(noise, self.observe(state), params), state, reward, terminated, truncated, {}

    def _add(self, noise: Array, observation: Array, params: ControlParams) -> Array:
        return self.observation_space(params).clip(observation + noise.astype(jnp.float32))


def _draw_noise(key: Key, params: ControlParams) -> Array:
    """Gaussian noise for one observation, `[2]`."""
    return jnp.zeros(2) if params.noise_sigma is None else params.noise_sigma * jax.random.normal(key, (2,))


def _check_noise_sigma(noise_sigma: float) -> None:
    if not isinstance(noise_sigma, int | float | np.number) or not noise_sigma >= 0:
        raise ValueError(f"noise_sigma ({noise_sigma!r}) must be a number that is not negative")
