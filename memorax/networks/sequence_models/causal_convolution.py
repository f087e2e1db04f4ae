"""A short convolution over time."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key


class CausalConvolution(SequenceModel):
    """A depthwise convolution over the last inputs of the episode (Gu & Dao, 2023, "Mamba", Figure 3).

    Attributes:
        kernel_size: number of inputs in its window, the current one included.
        param_dtype: dtype of the parameters.
    """

    kernel_size: int = 4
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the size."""
        if self.kernel_size < 1:
            raise ValueError(f"CausalConvolution kernel_size ({self.kernel_size}) must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        features = inputs.shape[-1]
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=())
        kernel = self.param("kernel", init, (self.kernel_size, features), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (features,), self.param_dtype)
        window, outputs = causal_convolution(inputs, kernel, done, carry)
        return window, outputs + bias.astype(outputs.dtype)[None, None]

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The window of the inputs before, zeros `[B, kernel_size - 1, F]`."""
        return jnp.zeros((input_shape[0], self.kernel_size - 1, input_shape[1]))
