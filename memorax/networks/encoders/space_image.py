"""Elements of boxes that hold images, as a CNN takes them."""

from __future__ import annotations

import flax.linen as nn

from memorax.environments.space_images import as_images
from memorax.environments.space_vectors import scale
from memorax.environments.spaces import Box
from memorax.types import Array


class SpaceImage(nn.Module):
    """Elements of a box that holds images, in the layout of images, without parameters.

    Attributes:
        space: the box; `is_image(space)` must be true.
        symbols: leave integers as they are, since they name things; otherwise pixels are scaled to `0 ... 1` by their
            bounds, but for what `normalize_observation` has scaled already.
    """

    space: Box
    symbols: bool = False

    def __call__(self, elements: Array) -> Array:
        """Images `[B, T, H, W, C]` of elements `[B, T, *space.shape]`: float32, or integers where `symbols`."""
        return as_images(elements if self.symbols else scale(self.space, elements, pixels=True), self.space.shape)
