"""Gated DeltaNet: overwritten and decaying fast weights."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.delta_net import DeltaNetCell
from memorax.networks.sequence_models.mamba import initial_a_log, initial_dt_bias
from memorax.types import Array


class GatedDeltaNetCell(DeltaNetCell):
    """Gated DeltaNet layer (Yang et al., 2025, "Gated Delta Networks", Eq. 10 and Section 3.4).

    `DeltaNetCell` with a decay and an output gate:

        alpha = exp(-exp(A_log) softplus(W_a x_t + dt_bias))                       one per head, as in Mamba-2
        S_t = alpha S_{t-1} (I - beta k k^T) + beta v k^T
        y_t = W_o (RMSNorm(S_t q) * silu(W_g x_t))

    Attributes:
        dt_min, dt_max, A_init_range: initialization, as in `MambaCell`.
    """

    dt_min: float = 1e-3
    dt_max: float = 1e-1
    A_init_range: tuple[float, float] = (1.0, 16.0)
    gated: ClassVar[bool] = True

    def log_decay(self, inputs: Array) -> Array:
        """How the state decays before it is overwritten: `[B, T, num_heads, 1]`."""
        shape = (self.num_heads,)
        a_log = self.param("A_log", initial_a_log(*self.A_init_range), shape, self.param_dtype)
        dt_bias = self.param("dt_bias", initial_dt_bias(self.dt_min, self.dt_max), shape, self.param_dtype)
        dt = self._dense(self.num_heads, "a")(inputs).astype(jnp.float32)
        return -(jnp.exp(a_log)[None, None] * nn.softplus(dt + dt_bias[None, None]))[..., None]

    def gate(self, inputs: Array, outputs: Array) -> Array:
        """What passes of the normalised outputs `[B, T, features]`."""
        return outputs * nn.silu(self._dense(self.features, "g")(inputs))

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name)
