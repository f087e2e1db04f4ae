"""The cart and pole that several tasks observe in part.

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
NUM_ACTIONS = 2


@struct.dataclass
class CartPoleState:
    """Position and velocity of the cart, angle and angular velocity of the pole, steps taken: scalars."""

    position: Array
    velocity: Array
    angle: Array
    angular_velocity: Array
    time: Array


def draw_initial_values(key: Key) -> Array:
    """Position, velocity, angle and angular velocity of a new episode, uniform in +-0.05: `[4]`."""
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def initial_state(values: Array) -> CartPoleState:
    """The state that starts from `values` `[4]`."""
    return CartPoleState(
        position=values[0],
        velocity=values[1],
        angle=values[2],
        angular_velocity=values[3],
        time=jnp.zeros((), jnp.int32),
    )


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
