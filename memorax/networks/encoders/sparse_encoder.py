"""The encoder of streaming algorithms."""

from __future__ import annotations

import flax.linen as nn

from memorax.environments.spaces import Space
from memorax.networks.encoders.mlp import MLP
from memorax.networks.encoders.space_encoder import SpaceEncoder
from memorax.networks.initializers import sparse


def sparse_encoder(space: Space, features: int) -> nn.Module:
    """A normalised dense layer with few weights at first, for observations as vectors.

    What an observation does then moves few features, so that what is learned from one interferes little with another
    (Elsayed et al., 2024, "Streaming Deep Reinforcement Learning Finally Works", section 3.1). Use it by
    `memorax train --encoder memorax.networks.encoders:sparse_encoder`.

    Args:
        space: the observation space.
        features: width of the layer.
    """
    layer = MLP(features, activation=nn.leaky_relu, kernel_init=sparse(0.9), layer_norm=True)
    return nn.Sequential([SpaceEncoder(space), layer])
