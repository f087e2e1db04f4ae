"""The residual network of IMPALA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from memorax.networks.dense import Dense
from memorax.networks.encoders.cnn import pixels
from memorax.networks.encoders.convolution import Convolution
from memorax.types import Array


class ImpalaCNN(nn.Module):
    """Residual convolutions and a dense layer (Espeholt et al., 2018, "IMPALA", Figure 3, the large architecture).

    Each section is a convolution, a max pooling that halves the sides, and two residual blocks of two convolutions
    each, with rectifiers before them; all kernels are 3x3.

    Attributes:
        features: channels of each section.
        num_blocks: residual blocks in each section.
        output_features: width of the dense layer.
        dtype: dtype of the computation; None promotes those of inputs and parameters.
    """

    features: Sequence[int] = (16, 32, 32)
    num_blocks: int = 2
    output_features: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Features `[B, T, output_features]` of images `[B, T, H, W, C]`; bytes are scaled to `0 ... 1`.

        Raises:
            ValueError: if the images have other axes.
        """
        if images.ndim != 5:
            raise ValueError(f"ImpalaCNN images {images.shape} must be [B, T, H, W, C]")
        batch_size, num_steps = images.shape[:2]
        hidden = pixels(images).reshape(batch_size * num_steps, *images.shape[2:])
        for width in self.features:
            hidden = Convolution(width, (3, 3), dtype=self.dtype)(hidden)
            hidden = nn.max_pool(hidden, (3, 3), strides=(2, 2), padding="SAME")
            for _ in range(self.num_blocks):
                block = Convolution(width, (3, 3), dtype=self.dtype)(nn.relu(hidden))
                hidden = hidden + Convolution(width, (3, 3), dtype=self.dtype)(nn.relu(block))
        hidden = nn.relu(hidden).reshape(batch_size, num_steps, -1)
        return nn.relu(Dense(self.output_features, dtype=self.dtype)(hidden))
