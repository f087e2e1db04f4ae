"""Simple pictures of environments, drawn with numpy on the host.

A canvas is measured in pixels from its upper left corner, x to the right and y downwards. Every shape is a distance to
its edge, negative inside, which gives smooth edges for any of them in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
PAPER: Color = (244, 241, 234)
SILVER: Color = (205, 205, 210)
GRAY: Color = (130, 130, 138)
BLACK: Color = (32, 32, 38)
RED: Color = (204, 60, 56)
ORANGE: Color = (236, 151, 52)
GREEN: Color = (66, 150, 84)
BLUE: Color = (52, 108, 184)
FELT: Color = (43, 104, 76)

# Which of the seven bars of a digit are lit: top, upper left, upper right, middle, lower left, lower right, bottom.
_SEGMENTS = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)


class Canvas:
    """A picture that shapes are painted on, each over those before it.

    Args:
        height: height in pixels.
        width: width in pixels.
        color: color of the background.

    Attributes:
        pixels: the picture so far, uint8, `[height, width, 3]`.
    """

    def __init__(self, height: int, width: int, color: Color = PAPER) -> None:
        self.pixels = np.full((height, width, 3), color, np.uint8)
        self._y, self._x = np.mgrid[:height, :width] + 0.5  # where the middles of the pixels are

    def rectangle(self, left: float, top: float, width: float, height: float, color: Color) -> None:
        """Fill the rectangle whose upper left corner is `(left, top)`."""

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            horizontal = np.abs(x - left - width / 2) - width / 2
            vertical = np.abs(y - top - height / 2) - height / 2
            return np.maximum(horizontal, vertical)

        self._paint(distance, [(left, top), (left + width, top + height)], 0, color)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        """Fill the disc around `(x, y)`."""
        self.line((x, y), (x, y), 2 * radius, color)

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float, color: Color) -> None:
        """Draw a line with round ends between two points `(x, y)`."""
        (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
        squared_length = max(dx * dx + dy * dy, 1e-12)

        def distance(px: np.ndarray, py: np.ndarray) -> np.ndarray:
            along = np.clip(((px - x) * dx + (py - y) * dy) / squared_length, 0, 1)
            return np.hypot(px - x - along * dx, py - y - along * dy) - width / 2

        self._paint(distance, [start, end], width / 2, color)

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """Fill a convex polygon, its corners `(x, y)` in order, either way round."""
        corners = np.asarray(points, np.float64)
        edges = np.roll(corners, -1, axis=0) - corners
        following = np.roll(edges, -1, axis=0)
        turn = np.sign(np.sum(edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]))
        normals = turn * np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.hypot(edges[:, :1], edges[:, 1:])

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.max([(x - a) * u + (y - b) * v for (a, b), (u, v) in zip(corners, normals, strict=True)], axis=0)

        self._paint(distance, points, 0, color)

    def number(self, value: int, left: float, top: float, height: float, color: Color) -> None:
        """Write an integer that is not negative in digits of seven bars, each `0.8 * height` from the next."""
        width = height / 2
        for i, digit in enumerate(str(int(value))):
            x = left + 0.8 * height * i
            bars = (
                ((x, top), (x + width, top)),
                ((x, top), (x, top + width)),
                ((x + width, top), (x + width, top + width)),
                ((x, top + width), (x + width, top + width)),
                ((x, top + width), (x, top + height)),
                ((x + width, top + width), (x + width, top + height)),
                ((x, top + height), (x + width, top + height)),
            )
            for lit, (start, end) in zip(_SEGMENTS[int(digit)], bars, strict=True):
                if lit == "1":
                    self.line(start, end, height / 8, color)

    def _paint(
        self,
        distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
        points: Sequence[tuple[float, float]],
        margin: float,
        color: Color,
    ) -> None:
        """Blend `color` in where `distance(x, y)` to the edge says that a pixel is covered, wholly or in part.

        Only pixels as near as `margin` to the rectangle that holds `points` are looked at.
        """
        (left, right), (top, bottom) = ((min(values), max(values)) for values in zip(*points, strict=True))
        columns = slice(max(math.floor(left - margin - 1), 0), max(math.ceil(right + margin + 1), 0))
        rows = slice(max(math.floor(top - margin - 1), 0), max(math.ceil(bottom + margin + 1), 0))
        outside = distance(self._x[rows, columns], self._y[rows, columns])
        inside = np.clip(0.5 - outside, 0, 1)[..., None]
        behind = self.pixels[rows, columns]
        self.pixels[rows, columns] = np.round(behind * (1 - inside) + np.asarray(color) * inside)
