"""Mamba: a selective state space model."""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.gated_linear_attention import gated_linear_attention
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_positive, require_several


@struct.dataclass
class MambaCarry:
    """What Mamba remembers, float32.

    Attributes:
        window: the last inputs of the convolution, `[B, d_conv - 1, d_inner + 2 * d_state]`.
        state: `[B, num_heads, head_dim, d_state]`.
    """

    window: Array
    state: Array


class MambaCell(MemoroidCell):
    """Mamba-2 block (Gu & Dao, 2023, "Mamba"; Dao & Gu, 2024, "Transformers are SSMs", Section 7), one group.

        z, xBC, dt = split(W_in u_t)
        x, B, C = split(silu(conv(xBC)))                           a causal depthwise convolution
        dt = softplus(dt + dt_bias)                                one per head
        S_t = exp(-dt exp(A_log)) S_{t-1} + dt x B^T               `[head_dim, d_state]` per head
        y_t = W_out RMSNorm((S_t C + D x) * silu(z))

    `dt` starts log-uniform in `[dt_min, dt_max]` and `exp(A_log)` uniform in `A_init_range`, so that memories start
    between about one step and a thousand. The defaults are smaller than those of language models (`d_state` 128,
    `head_dim` 64 there).

    Attributes:
        features: size of the outputs.
        d_state: state size per channel, N.
        d_conv: width of the convolution.
        expand: `d_inner = expand * features` channels, at least 2, which are normalised.
        head_dim: channels per head, P; must divide `d_inner`.
        dt_min, dt_max, A_init_range: initialization.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    head_dim: int = 16
    dt_min: float = 1e-3
    dt_max: float = 1e-1
    A_init_range: tuple[float, float] = (1.0, 16.0)
    chunk_length: int = 32
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "d_state", "d_conv", "expand", "chunk_length")
        require_divisor(self, "head_dim", "expand * features", self.d_inner)
        require_several("MambaCell", f"expand * features ({self.expand} * {self.features})", self.d_inner)
        super().__post_init__()

    @property
    def d_inner(self) -> int:
        """Number of channels."""
        return self.expand * self.features

    @property
    def num_heads(self) -> int:
        """Number of heads."""
        return self.d_inner // self.head_dim

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: MambaCarry) -> tuple[MambaCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        num_heads, d_inner, d_xbc = self.num_heads, self.d_inner, self.d_inner + 2 * self.d_state
        a_log = self.param("A_log", initial_a_log(*self.A_init_range), (num_heads,), self.param_dtype)
        dt_bias = self.param("dt_bias", initial_dt_bias(self.dt_min, self.dt_max), (num_heads,), self.param_dtype)
        d = self.param("D", nn.initializers.ones, (num_heads,), self.param_dtype)
        conv_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=())
        conv_kernel = self.param("conv_kernel", conv_init, (self.d_conv, d_xbc), self.param_dtype)
        conv_bias = self.param("conv_bias", nn.initializers.zeros, (d_xbc,), self.param_dtype)

        projected = self._dense(d_inner + d_xbc + num_heads, "in_proj")(inputs)
        z, xbc, dt = jnp.split(projected, [d_inner, d_inner + d_xbc], axis=-1)
        window, xbc = causal_convolution(xbc, conv_kernel, done, carry.window)
        xbc = nn.silu(xbc.astype(jnp.float32) + conv_bias[None, None])
        x, b, c = jnp.split(xbc, [d_inner, d_inner + self.d_state], axis=-1)
        x = x.reshape(*x.shape[:2], num_heads, self.head_dim)
        dt = nn.softplus(dt.astype(jnp.float32) + dt_bias[None, None])
        log_decay = (-dt * jnp.exp(a_log)[None, None])[..., None]
        b, c = b[:, :, None], c[:, :, None]  # one group: the heads share them
        state, y = gated_linear_attention(log_decay, b, dt[..., None] * x, c, done, carry.state, self.chunk_length)
        y = y + d[None, None, :, None] * x
        y = y.reshape(z.shape).astype(z.dtype) * nn.silu(z)
        y = nn.RMSNorm(dtype=self.dtype, param_dtype=self.param_dtype, name="norm")(y)
        return MambaCarry(window, state), self._dense(self.features, "out_proj")(y)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> MambaCarry:
        """The zero window and the zero state."""
        batch_size = input_shape[0]
        return MambaCarry(
            window=jnp.zeros((batch_size, self.d_conv - 1, self.d_inner + 2 * self.d_state)),
            state=jnp.zeros((batch_size, self.num_heads, self.head_dim, self.d_state)),
        )

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name)


def initial_a_log(low: float, high: float) -> nn.initializers.Initializer:
    """The logarithm of decay rates uniform in a range."""
    return lambda key, shape, dtype: jnp.log(jax.random.uniform(key, shape, dtype, low, high))


def initial_dt_bias(low: float, high: float) -> nn.initializers.Initializer:
    """What `softplus` maps to step sizes log-uniform in a range."""

    def init(key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        dt = jnp.exp(jax.random.uniform(key, shape, dtype, math.log(low), math.log(high)))
        return dt + jnp.log(-jnp.expm1(-dt))

    return init
