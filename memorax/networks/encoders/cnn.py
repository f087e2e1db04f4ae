"""Convolutions over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.space_vectors import as_float
from memorax.networks.dense import Dense
from memorax.networks.encoders.convolution import Convolution
from memorax.networks.encoders.mlp import SCALE, Activation
from memorax.types import Array


class CNN(nn.Module):
    """Convolutions and a dense layer; by default those of Mnih et al. (2015, DQN, methods, model architecture).

    Attributes:
        features: channels of each convolution.
        kernel_sizes: side of each kernel.
        strides: stride of each convolution.
        output_features: width of the dense layer.
        activation: function applied after each layer.
        dtype: dtype of the computation; None promotes those of inputs and parameters.
    """

    features: Sequence[int] = (32, 64, 64)
    kernel_sizes: Sequence[int] = (8, 4, 3)
    strides: Sequence[int] = (4, 2, 1)
    output_features: int = 512
    activation: Activation = nn.relu
    dtype: Any = None

    @property
    def minimum_side(self) -> int:
        """Pixels an image must have a side for the last convolution to have one to look at."""
        side = 1
        for kernel_size, stride in zip(reversed(self.kernel_sizes), reversed(self.strides), strict=True):
            side = (side - 1) * stride + kernel_size
        return side

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Features `[B, T, output_features]` of images `[B, T, H, W, C]`; bytes are scaled to `0 ... 1`.

        Raises:
            ValueError: if the images have other axes or are too small.
        """
        if images.ndim != 5 or min(images.shape[2:4]) < self.minimum_side:
            raise ValueError(
                f"CNN images {images.shape} must be [B, T, H, W, C] with H and W at least {self.minimum_side}: use "
                f"smaller kernel_sizes and strides, or MLP"
            )
        batch_size, num_steps = images.shape[:2]
        hidden = pixels(images).reshape(batch_size * num_steps, *images.shape[2:])
        initializer = nn.initializers.orthogonal(SCALE)
        for width, kernel_size, stride in zip(self.features, self.kernel_sizes, self.strides, strict=True):
            convolution = Convolution(
                width,
                (kernel_size, kernel_size),
                (stride, stride),
                padding="VALID",
                kernel_init=initializer,
                dtype=self.dtype,
            )
            hidden = self.activation(convolution(hidden))
        hidden = hidden.reshape(batch_size, num_steps, -1)
        return self.activation(Dense(self.output_features, kernel_init=initializer, dtype=self.dtype)(hidden))


def pixels(images: Array) -> Array:
    """Images as floats; bytes are scaled to `0 ... 1`."""
    return images.astype(jnp.float32) / 255.0 if images.dtype == jnp.uint8 else as_float(images)
