"""Encoders: what turns observations, actions, rewards and ends of episodes into features `[B, T, F]`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.types import Array, PyTree

Activation = Callable[[Array], Array]

# Keeps the scale of activations through a rectifier (He et al., 2015).
SCALE = math.sqrt(2.0)


class MLP(nn.Module):
    """Dense layers, each followed by an activation.

    Attributes:
        features: width of each layer, or of the only one.
        activation: what follows each layer.
        dtype: what is computed in; that of inputs and parameters together if None.
    """

    features: int | Sequence[int]
    activation: Activation = nn.relu
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Features `[B, T, F]` of `inputs` `[B, T, ...]`, whose trailing axes are flattened.

        Raises:
            ValueError: if the inputs are integers `[B, T]`, which name things and do not measure them.
        """
        if inputs.ndim == 2 and not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(
                f"MLP inputs {inputs.shape} are of type {inputs.dtype}, one number per step: use OneHot(num_classes) "
                f"or nn.Embed for what is counted, not measured"
            )
        widths = (self.features,) if isinstance(self.features, int) else self.features
        hidden = _flatten(inputs)
        for width in widths:
            layer = nn.Dense(width, kernel_init=nn.initializers.orthogonal(SCALE), dtype=self.dtype)
            hidden = self.activation(layer(hidden))
        return hidden


class CNN(nn.Module):
    """Convolutions and a dense layer; by default those of Mnih et al. (2015, DQN, methods, model architecture).

    Attributes:
        features: channels of each convolution.
        kernel_sizes: side of each kernel.
        strides: stride of each convolution.
        output_features: width of the dense layer.
        activation: what follows each layer.
        dtype: what is computed in; that of inputs and parameters together if None.
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
        hidden = images.reshape(batch_size * num_steps, *images.shape[2:])
        hidden = hidden.astype(jnp.float32) / 255.0 if images.dtype == jnp.uint8 else _as_float(hidden)
        initializer = nn.initializers.orthogonal(SCALE)
        for width, kernel_size, stride in zip(self.features, self.kernel_sizes, self.strides, strict=True):
            convolution = nn.Conv(
                width,
                (kernel_size, kernel_size),
                (stride, stride),
                padding="VALID",
                kernel_init=initializer,
                dtype=self.dtype,
            )
            hidden = self.activation(convolution(hidden))
        hidden = hidden.reshape(batch_size, num_steps, -1)
        return self.activation(nn.Dense(self.output_features, kernel_init=initializer, dtype=self.dtype)(hidden))


class OneHot(nn.Module):
    """A vector with a one at the place an integer names.

    Attributes:
        num_classes: how many places.
    """

    num_classes: int

    def __call__(self, inputs: Array) -> Array:
        """Vectors `[..., num_classes]` of integers `[...]`; of zeros where an integer names no place.

        Raises:
            ValueError: if the inputs are no integers.
        """
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(f"OneHot inputs {inputs.shape} are of type {inputs.dtype}: use MLP for what is no integer")
        return jax.nn.one_hot(inputs, self.num_classes)


class SpaceEncoder(nn.Module):
    """An element of any space as one float vector, without parameters.

    Discrete choices become one-hot vectors, numbers are flattened (bounded integers scaled to `0 ... 1`), and
    dictionaries concatenated in the order of their sorted keys.

    Attributes:
        space: the space.
    """

    space: Space

    def __call__(self, element: PyTree) -> Array:
        """Vectors `[B, T, F]` of elements whose leaves are `[B, T, ...]`.

        Raises:
            ValueError: if the space is of a kind that is not known.
        """
        return _encode(self.space, element)


def observation_encoder(space: Space, features: int | Sequence[int]) -> nn.Module:
    """A sensible encoder for observations of any space.

    Args:
        space: the observation space.
        features: widths of the encoder's dense layers; images have one, of the last of the widths.

    Returns:
        `CNN` for images large enough for it, otherwise `SpaceEncoder` and `MLP`.
    """
    if isinstance(space, Box) and len(space.shape) == 3 and min(space.shape[:2]) >= CNN().minimum_side:
        return CNN(output_features=features if isinstance(features, int) else features[-1])
    return nn.Sequential([SpaceEncoder(space), MLP(features)])


def _flatten(inputs: Array) -> Array:
    """`[B, T, ...]` as floats `[B, T, F]`."""
    return _as_float(inputs).reshape(*inputs.shape[:2], -1)


def _as_float(inputs: Array) -> Array:
    return inputs if jnp.issubdtype(inputs.dtype, jnp.floating) else inputs.astype(jnp.float32)


def _encode(space: Space, element: PyTree) -> Array:
    match space:
        case Discrete():
            return jax.nn.one_hot(element, space.n)
        case MultiDiscrete():
            choices = [jax.nn.one_hot(element[..., i], n) for i, n in enumerate(space.nvec)]
            return jnp.concatenate(choices, axis=-1)
        case Box():
            return _flatten(_scale_integers(space, element))
        case Dict():
            parts = [_encode(space.spaces[name], element[name]) for name in sorted(space.spaces)]
            return jnp.concatenate(parts, axis=-1)
        case _:
            raise ValueError(
                f"SpaceEncoder space ({type(space).__name__}) must be Discrete, MultiDiscrete, Box or a Dict of these"
            )


def _scale_integers(space: Box, element: Array) -> Array:
    """The elements of a bounded integer box between 0 and 1, any others as they are."""
    if jnp.issubdtype(space.dtype, jnp.floating) or not space.bounded:
        return element
    low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
    extent = np.broadcast_to(np.maximum(high - low, 1.0), space.shape)[None, None]
    return (element.astype(jnp.float32) - np.broadcast_to(low, space.shape)[None, None]) / extent
