"""Boxes that hold images, and the layout of their elements."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.space_vectors import bounds_in_type
from memorax.environments.spaces import Box
from memorax.types import Array

LEAST_SIDE = 3
"""Rows and columns of the smallest image or grid: the least that a 3x3 kernel can see."""
PICTURE_SIDE = 12
"""Rows and columns from which an array of two axes, or the last axes of four, are an image and not a table."""
LARGE_SIDE = 36
"""Rows and columns of an image that no one would take for channels."""


def is_image(space: Box) -> bool:
    """Whether the elements of a box are images or grids, rather than vectors or tables of numbers.

    They are where two axes of at least 3 remain beside the channels:

    * Three axes are `[H, W, C]`, or `[C, H, W]` where `channels_first`.
    * Two axes are `[H, W]` of a gray image where both are at least 12 and all elements have the same finite bounds, or
      of a grid of symbols where `holds_symbols`. Any others are a table.
    * Four axes are frames in front of images with sides of at least 12, which become channels.
    """
    match len(space.shape):
        case 2:
            least = LEAST_SIDE if holds_symbols(space) else PICTURE_SIDE
            return min(space.shape) >= least and (holds_symbols(space) or _alike(space))
        case 3:
            return min(image_shape(space.shape)) >= 1 and min(image_shape(space.shape)[:2]) >= LEAST_SIDE
        case 4:
            sides = image_shape(space.shape)[:2]
            return min(space.shape) >= 1 and min(sides) >= PICTURE_SIDE and space.shape[0] < min(sides)
        case _:
            return False


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`(H, W, C)` of elements of a shape with two, three or four axes."""
    elements = jax.ShapeDtypeStruct((1, 1, *shape), jnp.float32)
    _, _, *sides = jax.eval_shape(lambda x: as_images(x, shape), elements).shape
    return tuple(sides)


def as_images(elements: Array, shape: tuple[int, ...]) -> Array:
    """Elements `[B, T, *shape]` of two, three or four axes as `[B, T, H, W, C]`, channels and frames last."""
    if len(shape) == 2:
        return elements[..., None]
    if channels_first(shape[-3:]):
        elements = jnp.moveaxis(elements, -3, -1)
    if len(shape) == 3:
        return elements
    frames_last = jnp.moveaxis(elements, 2, -2)  # (B, T, H, W, S, C)
    return frames_last.reshape(*frames_last.shape[:4], -1)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether three axes are `[C, H, W]`: the first is the shortest, and the other two are alike or both large."""
    channels, height, width = shape
    return channels < min(height, width) and (height == width or min(height, width) >= LARGE_SIDE)


def holds_symbols(space: Box) -> bool:
    """Whether elements are integers that may name things: all from 0 up to 255 at most."""
    low, high = bounds_in_type(space)
    integers = jnp.issubdtype(space.dtype, jnp.integer)
    return bool(integers and np.min(low, initial=0) >= 0 and np.max(high, initial=0) < 256)


def _alike(space: Box) -> bool:
    """Whether all elements have the same finite bounds, as pixels have."""
    low, high = (np.unique(bound) for bound in bounds_in_type(space))
    return space.bounded and len(low) == len(high) == 1
