"""The pendulum of the tasks that show parts of its state.

Equation of motion of a rod driven at its end, with the constants and the semi-implicit Euler integration of
Gymnasium's Pendulum-v1. Angles are radians from upright, times seconds, torques newton metres.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, GRAY, PAPER, RED, SILVER, Canvas
from memorax.environments.popgym.control import ControlParams, ControlTask
from memorax.environments.spaces import Box
from memorax.types import Array, Key

GRAVITY = 10.0
MASS = 1.0
LENGTH = 1.0
TIME_STEP = 0.05
MAX_SPEED = 8.0
MAX_TORQUE = 2.0
HIGHEST_COST = math.pi**2 + 0.1 * MAX_SPEED**2 + 0.001 * MAX_TORQUE**2


@struct.dataclass
class PendulumState:
    """Angle in `[-pi, pi)` and angular velocity of the rod, steps taken: scalars."""

    angle: Array
    angular_velocity: Array
    time: Array


class PendulumTask(ControlTask):
    """A rod that is turned by a torque in +-2 N m, `[1]`.

    An episode is truncated after `max_episode_length` steps and never terminated. The state before a step and its
    torque cost `c = angle ** 2 + 0.1 * velocity ** 2 + 0.001 * torque ** 2`, at most `c_max`; the step gives
    `(1 - 2 c / c_max) / max_episode_length`, so returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.
    """

    def draw_initial_values(self, key: Key) -> Array:
        """Angle and angular velocity of a new episode, uniform in +-pi and +-1: `[2]`."""
        return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.asarray([math.pi, 1.0])

    def initial_state(self, values: Array) -> PendulumState:
        angle, angular_velocity = values
        return PendulumState(angle, angular_velocity, time=jnp.zeros((), jnp.int32))

    def move(
        self, state: PendulumState, action: Array, max_episode_length: Array | int
    ) -> tuple[PendulumState, Array, Array, Array]:
        torque = action[0]
        after = swing(state, torque)
        reward = (1 - 2 * cost(state, torque) / HIGHEST_COST) / max_episode_length
        truncated = after.time >= max_episode_length
        return after, reward.astype(jnp.float32), jnp.zeros_like(truncated), truncated

    def observe(self, state: PendulumState) -> Array:
        """Cosine and sine of the angle: float32, `[2]`."""
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle)]).astype(jnp.float32)

    def observation_space(self, params: ControlParams) -> Box:
        return Box(-np.ones(2, np.float32), np.ones(2, np.float32), (2,))

    def action_space(self, params: ControlParams) -> Box:
        return Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    def render(self, env_state: PendulumState, params: ControlParams) -> np.ndarray:
        """The rod as it is, without noise, upright where it points up."""
        return draw(env_state)


def swing(state: PendulumState, torque: Array) -> PendulumState:
    """The state one time step after `torque`, which is clipped to +-2, has been applied."""
    torque = jnp.clip(torque, -MAX_TORQUE, MAX_TORQUE)
    acceleration = 1.5 * GRAVITY / LENGTH * jnp.sin(state.angle) + 3 / (MASS * LENGTH**2) * torque
    velocity = jnp.clip(state.angular_velocity + TIME_STEP * acceleration, -MAX_SPEED, MAX_SPEED)
    return PendulumState(
        angle=_wrap(state.angle + TIME_STEP * velocity), angular_velocity=velocity, time=state.time + 1
    )


def cost(state: PendulumState, torque: Array) -> Array:
    """What it costs to be in `state` and apply `torque`: 0 at rest upright, at most `HIGHEST_COST`."""
    torque = jnp.clip(torque, -MAX_TORQUE, MAX_TORQUE)
    return jnp.square(state.angle) + 0.1 * jnp.square(state.angular_velocity) + 0.001 * jnp.square(torque)


def draw(state: PendulumState) -> np.ndarray:
    """A picture of the rod: uint8, `[160, 160, 3]`."""
    canvas = Canvas(160, 160, PAPER)
    angle = float(state.angle)
    canvas.line((80, 80), (80, 15), 2, SILVER)
    canvas.line((80, 80), (80 - 62 * math.sin(angle), 80 - 62 * math.cos(angle)), 12, RED)
    canvas.disc(80, 80, 7, BLACK)
    canvas.disc(80, 80, 3, GRAY)
    return canvas.pixels


def _wrap(angle: Array) -> Array:
    return jnp.mod(angle + math.pi, 2 * math.pi) - math.pi
