"""VelocityOnlyCartPole: balance the pole seeing nothing but velocities."""

from __future__ import annotations

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
from memorax.environments.popgym.position_only_cartpole import outcome, positions
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box, Discrete
from memorax.types import Array, Key


@struct.dataclass
class VelocityOnlyCartPoleParams:
    """The time limit, in steps."""

    max_episode_length: Array | int


class VelocityOnlyCartPole(Environment):
    """The observation is the velocity of the cart and the angular velocity of the pole, but at the start of an episode
    their positions: the position of the cart and the angle of the pole.

    The action pushes left (0) or right (1). Ends and rewards are those of `PositionOnlyCartPole`.

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7, which shows positions at the start as described.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        check_max_episode_length(max_episode_length)
        self.max_episode_length = max_episode_length

    @property
    def default_params(self) -> VelocityOnlyCartPoleParams:
        return VelocityOnlyCartPoleParams(max_episode_length=self.max_episode_length)

    def reset(self, key: Key, params: VelocityOnlyCartPoleParams) -> tuple[Array, CartPoleState]:
        return self.start(draw_initial_values(key))

    def step_env(
        self, key: Key, env_state: CartPoleState, action: Array, params: VelocityOnlyCartPoleParams
    ) -> StepResult:
        state = push(env_state, action)
        reward, terminated, truncated = outcome(state, params.max_episode_length)
        return _velocities(state), state, reward, terminated, truncated, {}

    def start(self, values: Array) -> tuple[Array, CartPoleState]:
        """`reset`, given the initial values `[4]` that are drawn."""
        state = initial_state(values)
        return positions(state), state

    def observation_space(self, params: VelocityOnlyCartPoleParams) -> Box:
        return Box(-np.inf, np.inf, (2,))

    def action_space(self, params: VelocityOnlyCartPoleParams) -> Discrete:
        return Discrete(NUM_ACTIONS)

    def render(self, env_state: CartPoleState, params: VelocityOnlyCartPoleParams) -> np.ndarray:
        """The cart on its track, and the pole on the cart."""
        return draw(env_state)


def _velocities(state: CartPoleState) -> Array:
    """Velocity of the cart and angular velocity of the pole: float32, `[2]`."""
    return jnp.stack([state.velocity, state.angular_velocity]).astype(jnp.float32)
