"""The independently recurrent neural network."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.elementwise_recurrence import elementwise_recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive


class IndRNNCell(MemoroidCell):
    """Independently recurrent neural network (Li et al., 2018, "Independently Recurrent Neural Network (IndRNN)").

        h_t = activation(W x_t + u * h_{t-1} + b)

    Each unit sees its own past alone; several layers let them meet. A recurrent weight acts within
    `[-recurrent_max, recurrent_max]`; at 1, no sequence makes it explode.

    Attributes:
        features: size of the state and of the outputs.
        activation: activation function of each step, rectified linear in the paper.
        recurrent_max: largest recurrent weight, `2^(1 / T)` in the paper for sequences of T steps. Weights start
            uniform up to it.
        dtype: dtype of the projections; the state is float32.
        param_dtype: dtype of the parameters.
    """

    elementwise = ("kernel", "bias", "recurrent")

    features: int
    activation: Callable[[Array], Array] = nn.relu
    recurrent_max: float = 1.0
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the bound."""
        require_positive(self, "features")
        if not self.recurrent_max > 0:
            raise ValueError(f"IndRNNCell recurrent_max ({self.recurrent_max}) must be greater than 0")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        recurrent = self.param("recurrent", self._recurrent, (self.features,), self.param_dtype)
        recurrent = jnp.clip(recurrent, -self.recurrent_max, self.recurrent_max).astype(jnp.float32)
        kernel_init = nn.initializers.he_normal()
        kernel = self.param("kernel", kernel_init, (inputs.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        inputs, kernel, bias = promote_dtype(inputs.swapaxes(0, 1), kernel, bias, dtype=self.dtype)
        driven = (project(inputs, kernel) + bias[None, None]).astype(jnp.float32)  # [T, B, H]

        def step(recurrent: Array, driven: Array, state: Array) -> Array:
            return self.activation(driven + recurrent * state)

        carry, states = elementwise_recurrence(step, recurrent[None], driven, done.T, carry)
        return carry, states.astype(inputs.dtype).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, float32 `[B, features]`."""
        return jnp.zeros((input_shape[0], self.features), jnp.float32)

    @nn.nowrap
    def _recurrent(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jax.random.uniform(key, shape, dtype, -self.recurrent_max, self.recurrent_max)
