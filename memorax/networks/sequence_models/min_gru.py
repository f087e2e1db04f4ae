"""The minimal gated recurrent unit."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive


class MinGRUCell(MemoroidCell):
    """minGRU (Feng et al., 2024, "Were RNNs All We Needed?", Section 3).

        z_t = sigmoid(W_z x_t + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * g(W_h x_t + b_h),    g(x) = x + 0.5 where x >= 0, sigmoid(x) elsewhere

    The function is that of the paper's log-space form. It is computed without logarithms: the decay `1 - z_t` is
    formed as `sigmoid(-...)`, exact near 0 and 1, and a recurrence with decays in `[0, 1]` cannot overflow.

    Attributes:
        features: size of the state and of the outputs.
        dtype: dtype of the projections; the state is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the size."""
        require_positive(self, "features")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        inputs = inputs.swapaxes(0, 1)  # [T, B, F]
        gate = Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="z")(inputs)
        candidate = Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="h")(inputs)
        positive = jnp.where(candidate >= 0, candidate + 0.5, nn.sigmoid(candidate))
        carry, states = linear_recurrence(nn.sigmoid(-gate), nn.sigmoid(gate) * positive, done.T, carry)
        return carry, states.astype(gate.dtype).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, float32 `[B, features]`."""
        return jnp.zeros((input_shape[0], self.features), jnp.float32)
