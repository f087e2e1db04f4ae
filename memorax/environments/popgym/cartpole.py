"""The cart and pole of the tasks that show parts of its state.

Equations of motion: Barto, Sutton and Anderson (1983), with the constants and the Euler integration of Gymnasium's
CartPole-v1. Lengths are metres, angles radians, times seconds.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import BLACK, BLUE, GRAY, ORANGE, PAPER, Canvas
from memorax.environments.popgym.control import ControlParams, ControlTask
from memorax.environments.spaces import Box, Discrete
from memorax.types import Array, Key

GRAVITY = 9.8
CART_MASS = 1.0
POLE_MASS = 0.1
TOTAL_MASS = CART_MASS + POLE_MASS
HALF_POLE_LENGTH = 0.5
FORCE = 10.0
TIME_STEP = 0.02
MAX_POSITION = 2.4
MAX_ANGLE = 12 * 2 * math.pi / 360


@struct.dataclass
class CartPoleState:
    """Position and velocity of the cart, angle and angular velocity of the pole, steps taken: scalars."""

    position: Array
    velocity: Array
    angle: Array
    angular_velocity: Array
    time: Array


class CartPoleTask(ControlTask):
    """A cart that is pushed left (action 0) or right (1).

    An episode is terminated when the cart leaves +-2.4 m or the pole leaves +-12 degrees, and truncated after
    `max_episode_length` steps. Every step, the last one included, gives `1 / max_episode_length`, so returns lie in
    (0, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7. Where the pole falls at the very step of the time
    limit the package sets both flags; here the failure wins and `terminated` is set alone.
    """

    def draw_initial_values(self, key: Key) -> Array:
        """Position, velocity, angle and angular velocity of a new episode, uniform in +-0.05: `[4]`."""
        return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)

    def initial_state(self, values: Array) -> CartPoleState:
        position, velocity, angle, angular_velocity = values
        return CartPoleState(position, velocity, angle, angular_velocity, time=jnp.zeros((), jnp.int32))

    def move(
        self, state: CartPoleState, action: Array, max_episode_length: Array | int
    ) -> tuple[CartPoleState, Array, Array, Array]:
        state = push(state, action)
        reward = jnp.asarray(1.0 / max_episode_length, jnp.float32)
        terminated = has_failed(state)
        return state, reward, terminated, (state.time >= max_episode_length) & ~terminated

    def observe(self, state: CartPoleState) -> Array:
        """Position of the cart and angle of the pole: float32, `[2]`."""
        return jnp.stack([state.position, state.angle]).astype(jnp.float32)

    def observation_space(self, params: ControlParams) -> Box:
        """Positions and angles up to twice what ends an episode."""
        high = 2 * np.asarray([MAX_POSITION, MAX_ANGLE], np.float32)
        return Box(-high, high, (2,))

    def action_space(self, params: ControlParams) -> Discrete:
        return Discrete(2)

    def render(self, env_state: CartPoleState, params: ControlParams) -> np.ndarray:
        """The cart on its track, and the pole on the cart, without noise."""
        return draw(env_state)


def push(state: CartPoleState, action: Array) -> CartPoleState:
    """The state one time step after a push to the right (`action` 1) or to the left (any other)."""
    force = jnp.where(action == 1, FORCE, -FORCE).astype(state.angle.dtype)
    cosine, sine = jnp.cos(state.angle), jnp.sin(state.angle)
    drive = (force + POLE_MASS * HALF_POLE_LENGTH * jnp.square(state.angular_velocity) * sine) / TOTAL_MASS
    angular_acceleration = (GRAVITY * sine - cosine * drive) / (
        HALF_POLE_LENGTH * (4.0 / 3.0 - POLE_MASS * jnp.square(cosine) / TOTAL_MASS)
    )
    acceleration = drive - POLE_MASS * HALF_POLE_LENGTH * angular_acceleration * cosine / TOTAL_MASS
    return CartPoleState(
        position=state.position + TIME_STEP * state.velocity,
        velocity=state.velocity + TIME_STEP * acceleration,
        angle=state.angle + TIME_STEP * state.angular_velocity,
        angular_velocity=state.angular_velocity + TIME_STEP * angular_acceleration,
        time=state.time + 1,
    )


def has_failed(state: CartPoleState) -> Array:
    """Whether the cart has left the track or the pole has fallen."""
    return (jnp.abs(state.position) > MAX_POSITION) | (jnp.abs(state.angle) > MAX_ANGLE)


def draw(state: CartPoleState) -> np.ndarray:
    """A picture of the cart and its pole: uint8, `[120, 240, 3]`."""
    canvas = Canvas(120, 240, PAPER)
    x, angle = 120 + 110 * float(state.position) / MAX_POSITION, float(state.angle)
    canvas.rectangle(10, 100, 220, 2, GRAY)
    canvas.rectangle(x - 18, 86, 36, 16, BLUE)
    canvas.line((x, 86), (x + 70 * math.sin(angle), 86 - 70 * math.cos(angle)), 6, ORANGE)
    canvas.disc(x, 86, 4, BLACK)
    return canvas.pixels
