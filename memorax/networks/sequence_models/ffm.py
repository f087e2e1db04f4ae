"""Fast and forgetful memory."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, Key
from memorax.validation import require_several


class FFMCell(MemoroidCell):
    """Fast and Forgetful Memory (Morad et al., 2023, "Reinforcement Learning with Fast and Forgetful Memory").

    A complex trace per pair of a decay and a frequency, in its recurrent form, gated on its way in and out:

        x~_t = l1(x_t) * sigmoid(l2(x_t))                                      `[m]`
        S_t = gamma * S_{t-1} + 1 x~_t^T,    gamma = exp(-i omega) exp(-|alpha|)^T      `[c, m]`
        z_t = l3(flatten[Re S_t, Im S_t])
        y_t = LN(z_t) * sigmoid(l4(x_t)) + l5(x_t) * (1 - sigmoid(l4(x_t)))

    Where the paper bounds the relative time of its closed form, the recurrence needs no bound: `|gamma| < 1`.

    Attributes:
        features: size of the outputs, at least 2, which are normalised.
        memory_size: number of decays, m.
        context_size: number of frequencies, c.
        horizon: the slowest trace is down to `beta` of an input after as many steps, and the longest period lasts as
            many (t_e in the paper).
        beta: fraction of an input that is left at the horizon.
        dtype: dtype of the projections; the state is complex64.
        param_dtype: dtype of the parameters.
    """

    features: int
    memory_size: int = 32
    context_size: int = 4
    horizon: int = 1024
    beta: float = 0.01
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "memory_size", "context_size", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"FFMCell {name} ({getattr(self, name)}) must be at least 1")
        # The norm would leave nothing of what is read, and only the shortcut past the memory would be seen.
        require_several("FFMCell", f"features ({self.features})", self.features)
        if not 0 < self.beta < 1:
            raise ValueError(f"FFMCell beta ({self.beta}) must lie between 0 and 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        memory_size, features = self.memory_size, self.features
        alpha = self.param("alpha", self._alpha, (memory_size,), self.param_dtype)
        omega = self.param("omega", self._omega, (self.context_size,), self.param_dtype)
        inputs = inputs.swapaxes(0, 1)  # [T, B, F]
        projected = self._dense(2 * memory_size + 2 * features, "inputs")(inputs)
        splits = [memory_size, 2 * memory_size, 2 * memory_size + features]
        written, write_gate, read_gate, shortcut = jnp.split(projected, splits, axis=-1)

        # The decay stays below 1 whatever the parameters: an undamped sum would grow without bound.
        damping = jnp.maximum(jnp.abs(alpha), 1e-6)[None]
        decay = jnp.exp(-damping) * jnp.exp(jax.lax.complex(0.0 * omega, -omega))[:, None]
        written = (written * nn.sigmoid(write_gate)).astype(jnp.float32)[..., None, :]
        written = jnp.broadcast_to(written, (*inputs.shape[:2], *decay.shape))
        carry, states = linear_recurrence(decay, written, done.T, carry)

        parts = jnp.concatenate([states.real, states.imag], axis=2).reshape(*inputs.shape[:2], -1)
        read = self._dense(features, "outputs")(parts.astype(projected.dtype))
        read = nn.LayerNorm(use_scale=False, use_bias=False, dtype=self.dtype, name="norm")(read)
        gate = nn.sigmoid(read_gate)
        return carry, (read * gate + shortcut * (1 - gate)).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero trace, complex64 `[B, context_size, memory_size]`."""
        return jnp.zeros((input_shape[0], self.context_size, self.memory_size), jnp.complex64)

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, dtype=self.dtype, param_dtype=self.param_dtype, name=name)

    @nn.nowrap
    def _alpha(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """From forgetting an input within a few steps to keeping it up to the horizon."""
        return jnp.linspace(-math.log(self.beta) / self.horizon, 1.0, shape[0], dtype=dtype)

    @nn.nowrap
    def _omega(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return 2 * math.pi / jnp.linspace(1.0, self.horizon, shape[0], dtype=dtype)
