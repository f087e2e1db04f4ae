"""The encoder that fits a space."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.environments.space_images import PICTURE_SIDE, as_images, holds_symbols, image_shape, is_image
from memorax.environments.space_vectors import bounds_in_type
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.networks.encoders.cnn import CNN
from memorax.networks.encoders.dict_encoder import DictEncoder
from memorax.networks.encoders.grid_embedding import GridEmbedding
from memorax.networks.encoders.mlp import MLP
from memorax.networks.encoders.space_encoder import SpaceEncoder
from memorax.networks.encoders.space_image import SpaceImage


def observation_encoder(space: Space, features: int | Sequence[int], hidden: Collection[str] = ()) -> nn.Module:
    """A sensible encoder for observations of any space.

    Arrays with rows and columns are seen as images, channels last or first, gray or in colour, alone or several frames
    (`is_image` says which arrays are). Pixels are scaled to `0 ... 1` by their bounds, but for what
    `normalize_observation` has scaled already. By the shorter side:

    * from 36, the `CNN` of DQN (Mnih et al., 2015);
    * from 3, where elements are integers from 0 to 255 at most, which may name things, `GridEmbedding`;
    * from 12, a `CNN` of two layers, and from 3 that of MinAtar (Young & Tian, 2019).

    Anything else becomes a vector by `SpaceEncoder` and passes through an `MLP`. In a dictionary, each image has a
    `CNN` of its own; the vectors of all entries are concatenated and pass through an `MLP`.

    Args:
        space: the observation space.
        features: widths of the encoder's dense layers; images and grids have one, of the last of the widths.
        hidden: entries of a dictionary that are not seen, wherever they occur.

    Raises:
        ValueError: if there is nothing to see, or the space is of a kind that is not known.
    """
    space = _seen(space, hidden)
    if _size(space) == 0:
        raise ValueError(f"observation space ({space}) has no elements: there is nothing for a network to see")
    width = features if isinstance(features, int) else features[-1]
    encoder = _encoder(space, width)
    if isinstance(space, Box) and is_image(space):
        return encoder
    return nn.Sequential([encoder, MLP(features)])


def _encoder(space: Space, width: int) -> nn.Module:
    """What turns elements into features `[B, T, F]`: learned for images, `width` of them, and fixed for vectors."""
    match space:
        case Box() if is_image(space):
            return nn.Sequential(_image_layers(space, width))
        case Dict() if _holds_images(space):
            return DictEncoder({name: _encoder(inner, width) for name, inner in space.spaces.items()})
        case _:
            return SpaceEncoder(space)


def _image_layers(space: Box, width: int) -> tuple[nn.Module, nn.Module]:
    side = min(image_shape(space.shape)[:2])
    if side >= CNN().minimum_side:
        return SpaceImage(space), CNN(output_features=width)
    if holds_symbols(space):
        high = jnp.asarray(bounds_in_type(space)[1], jnp.int32)[None, None]
        symbols = np.asarray(as_images(high, space.shape)).max(axis=(0, 1, 2, 3)) + 1
        embedding = GridEmbedding(tuple(int(n) for n in symbols), output_features=width)
        return SpaceImage(space, symbols=True), embedding
    if side >= PICTURE_SIDE:
        return SpaceImage(space), CNN((32, 64), (4, 3), (2, 1), output_features=width)
    return SpaceImage(space), CNN((16,), (3,), (1,), output_features=width)


def _seen(space: Space, hidden: Collection[str]) -> Space:
    """The space without the entries that are hidden."""
    if not isinstance(space, Dict):
        return space
    return Dict({name: _seen(inner, hidden) for name, inner in space.spaces.items() if name not in hidden})


def _holds_images(space: Space) -> bool:
    match space:
        case Box():
            return is_image(space)
        case Dict():
            return any(_holds_images(inner) for inner in space.spaces.values())
        case _:
            return False


def _size(space: Space) -> int:
    """How many numbers an element has.

    Raises:
        ValueError: if the space is of a kind that is not known.
    """
    match space:
        case Dict():
            return sum(_size(inner) for inner in space.spaces.values())
        case Box() | Discrete() | MultiDiscrete():
            return math.prod(space.shape)
        case _:
            raise ValueError(
                f"observation space ({type(space).__name__}) must be Discrete, MultiDiscrete, Box or a Dict of these"
            )
