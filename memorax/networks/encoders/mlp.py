"""Dense layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.space_vectors import flatten
from memorax.networks.dense import Dense
from memorax.types import Array
from memorax.validation import require_several

Activation = Callable[[Array], Array]
Initializer = Callable[..., Array]

# Keeps the scale of activations through a rectifier (He et al., 2015).
SCALE = math.sqrt(2.0)


class MLP(nn.Module):
    """Dense layers, each followed by an activation.

    Attributes:
        features: width of each layer, or of the only one.
        activation: function applied after each layer.
        kernel_init: initializer of the kernels.
        layer_norm: normalise before each activation, without a scale or shift that is learned.
        dtype: dtype of the computation; None promotes those of inputs and parameters.
    """

    features: int | Sequence[int]
    activation: Activation = nn.relu
    kernel_init: Initializer = nn.initializers.orthogonal(SCALE)
    layer_norm: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        """Check the widths."""
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"MLP features ({self.features}) must name widths of at least 1")
        if self.layer_norm:
            remedy = "use wider layers or layer_norm=False"
            require_several("MLP", f"features ({self.features})", min(self.widths), remedy)
        super().__post_init__()

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each layer."""
        return (self.features,) if isinstance(self.features, int) else tuple(self.features)

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
        hidden = flatten(inputs)
        for width in self.widths:
            hidden = Dense(width, kernel_init=self.kernel_init, dtype=self.dtype)(hidden)
            if self.layer_norm:
                hidden = nn.LayerNorm(use_scale=False, use_bias=False, dtype=self.dtype)(hidden)
            hidden = self.activation(hidden)
        return hidden
