"""The diagonal structured state space layer."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.diagonal_state_space import diagonal_state_space
from memorax.networks.sequence_models.ops.discretization import zero_order_hold
from memorax.types import Array, Key
from memorax.validation import require_positive


class S4DCell(MemoroidCell):
    """S4D (Gu et al., 2022, "On the Parameterization and Initialization of Diagonal State Space Models").

    A state space of its own for each input channel, with B = 1, sampled by a zero-order hold, then the
    nonlinearity and the layer that mixes channels (Gu et al., 2022, "Efficiently Modeling Long Sequences with
    Structured State Spaces"):

        h_t = exp(A dt) * h_{t-1} + (exp(A dt) - 1) / A * x_t            `[N / 2, H]`
        y_t = W gelu(2 Re(sum_n C_n h_tn) + D x_t) + b

    `A` starts as S4D-Lin, `-1/2 + i pi n`, or S4D-Inv, `-1/2 + i N / pi (N / (2n + 1) - 1)`; its real part stays
    negative by an exponential.

    Attributes:
        features: size of the outputs.
        d_state: size of each channel's real system, N, twice the number of complex states (64 in the paper).
        initialization: "lin" or "inv".
        dt_min, dt_max: range of the steps at initialization, log-uniform, one for each channel.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of what is outside the recurrence; the state is complex64.
        param_dtype: dtype of the parameters.
    """

    features: int
    d_state: int = 16
    initialization: str = "lin"
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    chunk_length: int = 8
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes and the name of the initialization."""
        require_positive(self, "features")
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"S4DCell d_state ({self.d_state}) must be even and at least 2")
        if self.initialization not in _FREQUENCIES:
            raise ValueError(
                f"S4DCell initialization ({self.initialization!r}) must be one of {', '.join(_FREQUENCIES)}"
            )
        if not 0 < self.dt_min < self.dt_max:
            raise ValueError(
                f"S4DCell dt_min ({self.dt_min}) and dt_max ({self.dt_max}) must satisfy 0 < dt_min < dt_max"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        shape = carry.shape[1:]
        log_a_real = self.param("log_A_real", nn.initializers.constant(math.log(0.5)), shape, self.param_dtype)
        a_imag = self.param("A_imag", self._a_imag, shape, self.param_dtype)
        c_re, c_im = (
            self.param(name, nn.initializers.normal(math.sqrt(0.5)), shape, self.param_dtype)
            for name in ("C_re", "C_im")
        )
        d = self.param("D", nn.initializers.normal(1.0), shape[1:], self.param_dtype)
        log_dt = self.param("log_dt", self._log_dt, shape[1:], self.param_dtype)

        steps = jnp.broadcast_to(jnp.exp(log_dt)[None], shape)
        eigenvalues = jax.lax.complex(-jnp.exp(log_a_real), a_imag)
        _, gain = zero_order_hold(eigenvalues, steps)
        readout, x = 2 * jax.lax.complex(c_re, c_im), inputs.astype(jnp.float32)
        carry, y = diagonal_state_space(eigenvalues * steps, gain, readout, x, done, carry, self.chunk_length)
        y = nn.gelu(y + d[None, None] * x).astype(inputs.dtype)
        mix = Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name="output")
        return carry, mix(y)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, complex64 `[B, d_state / 2, F]`: a system for each input channel."""
        return jnp.zeros((input_shape[0], self.d_state // 2, input_shape[1]), jnp.complex64)

    @nn.nowrap
    def _a_imag(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        n = jnp.arange(shape[0], dtype=dtype)[:, None]
        return jnp.broadcast_to(_FREQUENCIES[self.initialization](n, self.d_state), shape)

    @nn.nowrap
    def _log_dt(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jax.random.uniform(key, shape, dtype, math.log(self.dt_min), math.log(self.dt_max))


_FREQUENCIES = {
    "lin": lambda n, size: math.pi * n,
    "inv": lambda n, size: size / math.pi * (size / (2 * n + 1) - 1),
}
