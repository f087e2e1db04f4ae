"""NoisyPositionOnlyPendulum: swing the rod up seeing its position through noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.noise import check_noise_sigma, draw_noise
from memorax.environments.popgym.pendulum import (
    PendulumState,
    draw,
    draw_initial_values,
    initial_state,
    position,
    position_space,
    torque_space,
)
from memorax.environments.popgym.position_only_pendulum import outcome
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box
from memorax.types import Array, Key


@struct.dataclass
class NoisyPositionOnlyPendulumParams:
    """The time limit, in steps, and the standard deviation of the noise."""

    max_episode_length: Array | int
    noise_sigma: Array | float


class NoisyPositionOnlyPendulum(Environment):
    """`PositionOnlyPendulum` with Gaussian noise added to what is observed.

    The noise has the same standard deviation for the cosine and the sine, and the sum is clipped to +-1. Ends and
    rewards are those of `PositionOnlyPendulum`.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.

    Args:
        max_episode_length: the time limit, in steps.
        noise_sigma: standard deviation of the noise.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer or `noise_sigma` is negative.
    """

    def __init__(self, max_episode_length: int = 200, noise_sigma: float = 0.1) -> None:
        check_max_episode_length(max_episode_length)
        check_noise_sigma(noise_sigma)
        self.max_episode_length = max_episode_length
        self.noise_sigma = noise_sigma

    @property
    def default_params(self) -> NoisyPositionOnlyPendulumParams:
        return NoisyPositionOnlyPendulumParams(max_episode_length=self.max_episode_length, noise_sigma=self.noise_sigma)

    def reset(self, key: Key, params: NoisyPositionOnlyPendulumParams) -> tuple[Array, PendulumState]:
        state_key, noise_key = jax.random.split(key)
        return self.start(draw_initial_values(state_key), draw_noise(noise_key, params.noise_sigma))

    def step_env(
        self, key: Key, env_state: PendulumState, action: Array, params: NoisyPositionOnlyPendulumParams
    ) -> StepResult:
        return self.advance(draw_noise(key, params.noise_sigma), env_state, action, params)

    def start(self, values: Array, noise: Array) -> tuple[Array, PendulumState]:
        """`reset`, given the initial values `[2]` and the noise `[2]` that are drawn."""
        state = initial_state(values)
        return _observe(state, noise), state

    def advance(
        self, noise: Array, env_state: PendulumState, action: Array, params: NoisyPositionOnlyPendulumParams
    ) -> StepResult:
        """`step_env`, given the noise `[2]` that is drawn."""
        state, reward, truncated = outcome(env_state, action, params.max_episode_length)
        return _observe(state, noise), state, reward, jnp.zeros_like(truncated), truncated, {}

    def observation_space(self, params: NoisyPositionOnlyPendulumParams) -> Box:
        return position_space()

    def action_space(self, params: NoisyPositionOnlyPendulumParams) -> Box:
        return torque_space()

    def render(self, env_state: PendulumState, params: NoisyPositionOnlyPendulumParams) -> np.ndarray:
        """The rod as it is, without the noise."""
        return draw(env_state)


def _observe(state: PendulumState, noise: Array) -> Array:
    """The position seen through `noise` `[2]`: float32, `[2]`."""
    return position_space().clip(position(state) + noise.astype(jnp.float32))
