"""NoisyPositionOnlyCartPole: balance the pole seeing positions through noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.cartpole import (
    NUM_ACTIONS,
    CartPoleState,
    draw,
    draw_initial_values,
    initial_state,
    push,
)
from memorax.environments.popgym.noise import check_noise_sigma, draw_noise
from memorax.environments.popgym.position_only_cartpole import outcome, position_space, positions
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box, Discrete
from memorax.types import Array, Key


@struct.dataclass
class NoisyPositionOnlyCartPoleParams:
    """The time limit, in steps, and the standard deviation of the noise."""

    max_episode_length: Array | int
    noise_sigma: Array | float


class NoisyPositionOnlyCartPole(Environment):
    """`PositionOnlyCartPole` with Gaussian noise added to what is observed.

    The noise has the same standard deviation for the position (metres) and the angle (radians), and the sum is
    clipped to the observation space. Ends and rewards are those of `PositionOnlyCartPole`.

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
    def default_params(self) -> NoisyPositionOnlyCartPoleParams:
        return NoisyPositionOnlyCartPoleParams(max_episode_length=self.max_episode_length, noise_sigma=self.noise_sigma)

    def reset(self, key: Key, params: NoisyPositionOnlyCartPoleParams) -> tuple[Array, CartPoleState]:
        state_key, noise_key = jax.random.split(key)
        return self.start(draw_initial_values(state_key), draw_noise(noise_key, params.noise_sigma))

    def step_env(
        self, key: Key, env_state: CartPoleState, action: Array, params: NoisyPositionOnlyCartPoleParams
    ) -> StepResult:
        return self.advance(draw_noise(key, params.noise_sigma), env_state, action, params)

    def start(self, values: Array, noise: Array) -> tuple[Array, CartPoleState]:
        """`reset`, given the initial values `[4]` and the noise `[2]` that are drawn."""
        state = initial_state(values)
        return _observe(state, noise), state

    def advance(
        self, noise: Array, env_state: CartPoleState, action: Array, params: NoisyPositionOnlyCartPoleParams
    ) -> StepResult:
        """`step_env`, given the noise `[2]` that is drawn."""
        state = push(env_state, action)
        reward, terminated, truncated = outcome(state, params.max_episode_length)
        return _observe(state, noise), state, reward, terminated, truncated, {}

    def observation_space(self, params: NoisyPositionOnlyCartPoleParams) -> Box:
        return position_space()

    def action_space(self, params: NoisyPositionOnlyCartPoleParams) -> Discrete:
        return Discrete(NUM_ACTIONS)

    def render(self, env_state: CartPoleState, params: NoisyPositionOnlyCartPoleParams) -> np.ndarray:
        """The cart on its track, and the pole on the cart, without the noise."""
        return draw(env_state)


def _observe(state: CartPoleState, noise: Array) -> Array:
    """The positions seen through `noise` `[2]`: float32, `[2]`."""
    return position_space().clip(positions(state) + noise.astype(jnp.float32))
