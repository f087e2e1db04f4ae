"""PositionOnlyCartPole: balance the pole without seeing any velocity."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.cartpole import (
    MAX_ANGLE,
    MAX_POSITION,
    NUM_ACTIONS,
    CartPoleState,
    draw,
    draw_initial_values,
    has_failed,
    initial_state,
    push,
)
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box, Discrete
from memorax.types import Array, Key


@struct.dataclass
class PositionOnlyCartPoleParams:
    """The time limit, in steps."""

    max_episode_length: Array | int


class PositionOnlyCartPole(Environment):
    """The observation is the position of the cart and the angle of the pole; the action pushes left (0) or right (1).

    An episode is terminated when the cart leaves +-2.4 m or the pole leaves +-12 degrees, and truncated after
    `max_episode_length` steps. Every step, the last one included, gives `1 / max_episode_length`, so returns lie in
    (0, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7. Where the pole falls at the very step of the time
    limit the package sets both flags; here the failure wins and `terminated` is set alone.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        check_max_episode_length(max_episode_length)
        self.max_episode_length = max_episode_length

    @property
    def default_params(self) -> PositionOnlyCartPoleParams:
        return PositionOnlyCartPoleParams(max_episode_length=self.max_episode_length)

    def reset(self, key: Key, params: PositionOnlyCartPoleParams) -> tuple[Array, CartPoleState]:
        return self.start(draw_initial_values(key))

    def step_env(
        self, key: Key, env_state: CartPoleState, action: Array, params: PositionOnlyCartPoleParams
    ) -> StepResult:
        state = push(env_state, action)
        reward, terminated, truncated = outcome(state, params.max_episode_length)
        return positions(state), state, reward, terminated, truncated, {}

    def start(self, values: Array) -> tuple[Array, CartPoleState]:
        """`reset`, given the initial values `[4]` that are drawn."""
        state = initial_state(values)
        return positions(state), state

    def observation_space(self, params: PositionOnlyCartPoleParams) -> Box:
        return position_space()

    def action_space(self, params: PositionOnlyCartPoleParams) -> Discrete:
        return Discrete(NUM_ACTIONS)

    def render(self, env_state: CartPoleState, params: PositionOnlyCartPoleParams) -> np.ndarray:
        """The cart on its track, and the pole on the cart."""
        return draw(env_state)


def positions(state: CartPoleState) -> Array:
    """Position of the cart and angle of the pole: float32, `[2]`."""
    return jnp.stack([state.position, state.angle]).astype(jnp.float32)


def position_space() -> Box:
    """What `positions` lie in: twice what ends an episode."""
    high = 2 * np.asarray([MAX_POSITION, MAX_ANGLE], np.float32)
    return Box(-high, high, (2,))


def outcome(state: CartPoleState, max_episode_length: Array | int) -> tuple[Array, Array, Array]:
    """Reward, terminated and truncated of the step that led to `state`."""
    reward = jnp.asarray(1.0 / max_episode_length, jnp.float32)
    terminated = has_failed(state)
    return reward, terminated, (state.time >= max_episode_length) & ~terminated
