"""PositionOnlyPendulum: swing the rod up without seeing its velocity."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym.pendulum import (
    HIGHEST_COST,
    PendulumState,
    cost,
    draw,
    draw_initial_values,
    initial_state,
    position,
    position_space,
    swing,
    torque_space,
)
from memorax.environments.popgym.time_limit import check_max_episode_length
from memorax.environments.spaces import Box
from memorax.types import Array, Key


@struct.dataclass
class PositionOnlyPendulumParams:
    """The time limit, in steps."""

    max_episode_length: Array | int


class PositionOnlyPendulum(Environment):
    """The observation is the cosine and the sine of the rod's angle from upright, the action a torque in +-2 N m.

    An episode is truncated after `max_episode_length` steps and never terminated. The state before a step and its
    torque cost `c = angle ** 2 + 0.1 * velocity ** 2 + 0.001 * torque ** 2`, at most `c_max`; the step gives
    `(1 - 2 c / c_max) / max_episode_length`, so returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.

    Args:
        max_episode_length: the time limit, in steps.

    Raises:
        ValueError: if `max_episode_length` is not a positive integer.
    """

    def __init__(self, max_episode_length: int = 200) -> None:
        check_max_episode_length(max_episode_length)
        self.max_episode_length = max_episode_length

    @property
    def default_params(self) -> PositionOnlyPendulumParams:
        return PositionOnlyPendulumParams(max_episode_length=self.max_episode_length)

    def reset(self, key: Key, params: PositionOnlyPendulumParams) -> tuple[Array, PendulumState]:
        return self.start(draw_initial_values(key))

    def step_env(
        self, key: Key, env_state: PendulumState, action: Array, params: PositionOnlyPendulumParams
    ) -> StepResult:
        state, reward, truncated = outcome(env_state, action, params.max_episode_length)
        return position(state), state, reward, jnp.zeros_like(truncated), truncated, {}

    def start(self, values: Array) -> tuple[Array, PendulumState]:
        """`reset`, given the initial values `[2]` that are drawn."""
        state = initial_state(values)
        return position(state), state

    def observation_space(self, params: PositionOnlyPendulumParams) -> Box:
        return position_space()

    def action_space(self, params: PositionOnlyPendulumParams) -> Box:
        return torque_space()

    def render(self, env_state: PendulumState, params: PositionOnlyPendulumParams) -> np.ndarray:
        """The rod, upright where it points up."""
        return draw(env_state)


def outcome(
    env_state: PendulumState, action: Array, max_episode_length: Array | int
) -> tuple[PendulumState, Array, Array]:
    """The state after the torque `action` `[1]`, the reward and whether the time limit is met."""
    torque = action[0]
    state = swing(env_state, torque)
    reward = (1 - 2 * cost(env_state, torque) / HIGHEST_COST) / max_episode_length
    return state, reward.astype(jnp.float32), state.time >= max_episode_length
