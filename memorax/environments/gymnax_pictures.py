"""Pictures of gymnax environments: classic control from its state, grids and images from the observation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from memorax.environments.drawing import BLACK, BLUE, GRAY, GREEN, ORANGE, RED, SILVER, WHITE, Canvas, Color
from memorax.environments.popgym import cartpole, pendulum
from memorax.types import PyTree

CELL = 16
CHANNELS: tuple[Color, ...] = (
    BLUE,
    RED,
    GREEN,
    ORANGE,
    WHITE,
    SILVER,
    (150, 90, 180),
    (90, 190, 190),
    GRAY,
    (240, 220, 90),
)


def draw_image(image: np.ndarray) -> np.ndarray:
    """A picture of an observation `[H, W]` or `[H, W, C]`: uint8 `[16 H, 16 W, 3]`.

    Three channels that are no flags are colours as they are; otherwise each channel has a colour of its own, painted
    over those before it where the channel is greater than zero.
    """
    channels = image[..., None] if image.ndim == 2 else image
    values = channels.astype(np.float64)
    if channels.shape[2] == 3 and channels.dtype != np.bool_:
        pixels = values if channels.dtype == np.uint8 else 255 * values
    else:
        pixels = np.full((*channels.shape[:2], 3), BLACK, np.float64)
        for index in range(channels.shape[2]):
            pixels[channels[..., index] > 0] = CHANNELS[index % len(CHANNELS)]
    return pixels.clip(0, 255).astype(np.uint8).repeat(CELL, axis=0).repeat(CELL, axis=1)


def draw_cart_pole(state: PyTree) -> np.ndarray:
    """The cart and its pole."""
    return cartpole.draw(cartpole.CartPoleState(state.x, state.x_dot, state.theta, state.theta_dot, state.time))


def draw_pendulum(state: PyTree) -> np.ndarray:
    """The rod."""
    return pendulum.draw(pendulum.PendulumState(state.theta, state.theta_dot, state.time))


def draw_mountain_car(state: PyTree) -> np.ndarray:
    """The car in its valley, whose height is `sin(3 x)` from `x` -1.2 to 0.6, and the flag it must reach."""
    canvas = Canvas(160, 240)

    def place(position: float) -> tuple[float, float]:
        return 10 + 220 * (position + 1.2) / 1.8, 90 - 45 * math.sin(3 * position)

    hill = [place(position) for position in np.linspace(-1.2, 0.6, 60)]
    for start, end in itertools.pairwise(hill):
        canvas.line(start, end, 3, GRAY)
    x, y = place(0.5)
    canvas.line((x, y), (x, y - 30), 2, BLACK)
    canvas.polygon([(x, y - 30), (x, y - 18), (x - 14, y - 24)], GREEN)
    x, y = place(float(state.position))
    canvas.disc(x, y - 8, 8, BLUE)
    return canvas.pixels


def draw_acrobot(state: PyTree) -> np.ndarray:
    """Its two links, hanging from the middle, and the height the free end must reach."""
    canvas = Canvas(200, 200)
    canvas.line((10, 60), (190, 60), 2, GREEN)
    first, second = float(state.joint_angle1), float(state.joint_angle1) + float(state.joint_angle2)
    joint = 100 + 40 * math.sin(first), 100 + 40 * math.cos(first)
    end = joint[0] + 40 * math.sin(second), joint[1] + 40 * math.cos(second)
    canvas.line((100, 100), joint, 8, BLUE)
    canvas.line(joint, end, 8, ORANGE)
    canvas.disc(100, 100, 5, BLACK)
    canvas.disc(*joint, 5, BLACK)
    return canvas.pixels


PICTURES: Mapping[str, Callable[[PyTree], np.ndarray]] = {
    "Acrobot-v1": draw_acrobot,
    "CartPole-v1": draw_cart_pole,
    "MountainCar-v0": draw_mountain_car,
    "MountainCarContinuous-v0": draw_mountain_car,
    "Pendulum-v1": draw_pendulum,
}
"""How environments are drawn whose observations are no images."""
