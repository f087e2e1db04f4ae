"""Grids of symbols, as in MiniGrid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.networks.encoders.cnn import CNN
from memorax.types import Array


class GridEmbedding(nn.Module):
    """Learned vectors for what each channel of a cell names, side by side, then convolutions over the grid.

    Attributes:
        num_classes: how many symbols each channel knows, or all of them: a kind of object, a colour, a state.
        embedding_features: size of a symbol's vector.
        features: channels of each convolution; kernels are 3x3.
        output_features: width of the dense layer.
        dtype: dtype of the computation; None means that of the parameters.
    """

    num_classes: int | Sequence[int]
    embedding_features: int = 8
    features: Sequence[int] = (32,)
    output_features: int = 64
    dtype: Any = None

    @nn.compact
    def __call__(self, grids: Array) -> Array:
        """Features `[B, T, output_features]` of integer grids `[B, T, H, W, C]` with symbols from 0.

        A symbol that its channel does not know is seen as a vector of zeros.

        Raises:
            ValueError: if the grids have other axes, are no integers or have another number of channels.
        """
        if grids.ndim != 5 or not jnp.issubdtype(grids.dtype, jnp.integer):
            raise ValueError(f"GridEmbedding grids {grids.shape} of {grids.dtype} must be integers [B, T, H, W, C]")
        channels = grids.shape[-1]
        sizes = (self.num_classes,) * channels if isinstance(self.num_classes, int) else tuple(self.num_classes)
        if len(sizes) != channels:
            raise ValueError(f"GridEmbedding num_classes {sizes} must be one for each channel of {grids.shape}")
        first = np.cumsum((0, *sizes[:-1]), dtype=np.int32)  # each channel has its own rows of the table
        symbols, size = grids.astype(jnp.int32), np.asarray(sizes, np.int32)
        known = (symbols >= 0) & (symbols < size[None, None, None, None])
        embed = nn.Embed(sum(sizes), self.embedding_features, dtype=self.dtype, name="symbols")
        vectors = embed(jnp.where(known, symbols, 0) + first[None, None, None, None])
        vectors = jnp.where(known[..., None], vectors, 0)
        ones = (1,) * len(self.features)
        cnn = CNN(self.features, tuple(3 * one for one in ones), ones, self.output_features, dtype=self.dtype)
        return cnn(vectors.reshape(*grids.shape[:-1], -1))
