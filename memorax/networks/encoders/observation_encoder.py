"""The encoder that fits a space."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Space
from memorax.networks.encoders.cnn import CNN
from memorax.networks.encoders.grid_embedding import GridEmbedding
from memorax.networks.encoders.mlp import MLP
from memorax.networks.encoders.space_encoder import SpaceEncoder


def observation_encoder(space: Space, features: int | Sequence[int]) -> nn.Module:
    """A sensible encoder for observations of any space.

    Args:
        space: the observation space.
        features: widths of the encoder's dense layers; images and grids have one, of the last of the widths.

    Returns:
        For images large enough the `CNN` of DQN, for smaller ones `CNN` with fewer and smaller kernels (of sides under
        12 that of Young & Tian, 2019, "MinAtar"), for small arrays of up to 256 symbols `GridEmbedding`; otherwise
        `SpaceEncoder` and `MLP`.
    """
    width = features if isinstance(features, int) else features[-1]
    if not isinstance(space, Box) or len(space.shape) != 3:
        return nn.Sequential([SpaceEncoder(space), MLP(features)])
    side = min(space.shape[:2])
    if side >= CNN().minimum_side:
        return CNN(output_features=width)
    if side >= 3 and _holds_symbols(space):
        high = np.broadcast_to(space.high, space.shape).max(axis=(0, 1))
        return GridEmbedding(tuple(int(symbol) + 1 for symbol in high), output_features=width)
    if side >= 12:
        return CNN((32, 64), (4, 3), (2, 1), output_features=width)
    if side >= 3:
        return CNN((16,), (3,), (1,), output_features=width)
    return nn.Sequential([SpaceEncoder(space), MLP(features)])


def _holds_symbols(space: Box) -> bool:
    integers = jnp.issubdtype(space.dtype, jnp.integer)
    return bool(integers and space.bounded and np.min(space.low) >= 0 and np.max(space.high) < 256)
