"""The scalar long short-term memory of xLSTM."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from flax.linen.dtypes import promote_dtype
from jax.scipy.linalg import block_diag

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.recurrence import Gates, recurrence
from memorax.types import Array, Key
from memorax.validation import require_positive, require_wide_heads

State = tuple[Array, Array, Array, Array]

# Where the stabilizer starts: below every input gate, so that the first step sets it. Finite, to have a gradient.
_LOWEST = -1e30


@struct.dataclass
class sLSTMCarry:
    """What an sLSTM remembers, float32.

    Attributes:
        window: the last inputs of the convolution, `[B, conv_kernel - 1, F]`.
        c, n, m, h: cell state, normalizer, stabilizer and hidden state, `[B, features]` each.
    """

    window: Array
    c: Array
    n: Array
    m: Array
    h: Array


class sLSTMCell(MemoroidCell):
    """sLSTM (Beck et al., 2024, "xLSTM: Extended Long Short-Term Memory", Section 2.2, Eqs. 8-17).

        c_t = f'_t * c_{t-1} + i'_t * tanh(z~_t)
        n_t = f'_t * n_{t-1} + i'_t
        m_t = max(log f_t + m_{t-1}, i~_t)
        i'_t = exp(i~_t - m_t),    f'_t = exp(log f_t + m_{t-1} - m_t),    log f_t = log sigmoid(f~_t)
        h_t = sigmoid(o~_t) * c_t / n_t
        y_t = GroupNorm(h_t)                                               one group per head

    Each of `i~, f~, z~, o~` is `W x_t + R h_{t-1} + b`; `R` is block-diagonal, a block per head, and `W` dense. As in
    the paper's block (Appendix A.4, Figure 10), `i~` and `f~` see the inputs through a causal convolution and a swish;
    there `W` is block-diagonal too.

    The forget gates start open, with biases evenly spaced from 3 to 6.

    Attributes:
        features: size of the state and of the outputs.
        num_heads: number of blocks of the recurrent matrices and of groups of the norm; must divide `features`, into
            parts of at least 2.
        conv_kernel: width of the convolution.
        dtype: dtype of the projections and the recurrent product; the state is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    conv_kernel: int = 4
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features")
        if self.num_heads < 1 or self.features % self.num_heads:
            raise ValueError(f"sLSTMCell num_heads ({self.num_heads}) must divide features ({self.features})")
        require_wide_heads(self)
        if self.conv_kernel < 1:
            raise ValueError(f"sLSTMCell conv_kernel ({self.conv_kernel}) must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: sLSTMCarry) -> tuple[sLSTMCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        features, input_dim, head_dim = self.features, inputs.shape[-1], self.features // self.num_heads
        conv_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=())
        conv_kernel = self.param("conv_kernel", conv_init, (self.conv_kernel, input_dim), self.param_dtype)
        conv_bias = self.param("conv_bias", nn.initializers.zeros, (input_dim,), self.param_dtype)
        recurrent_init = nn.initializers.lecun_normal(batch_axis=(0, 1))
        recurrent_shape = (4, self.num_heads, head_dim, head_dim)
        recurrent = self.param("recurrent", recurrent_init, recurrent_shape, self.param_dtype)
        bias = self.param("bias", _bias, (4, features), self.param_dtype)

        window, convolved = causal_convolution(inputs, conv_kernel, done, carry.window)
        convolved = nn.silu(convolved + conv_bias.astype(convolved.dtype)[None, None])
        i, f = jnp.split(self._dense(2 * features, "convolved")(convolved.swapaxes(0, 1)), 2, axis=-1)
        z, o = jnp.split(self._dense(2 * features, "inputs")(inputs.swapaxes(0, 1)), 2, axis=-1)

        # One dense product per step is faster than one small product per head.
        kernel = jnp.concatenate([block_diag(*heads) for heads in recurrent], axis=-1)
        _, kernel, bias = promote_dtype(i, kernel, bias.reshape(-1), dtype=self.dtype)
        start = self._start(inputs.shape[0])
        state, hidden = recurrence(
            _step, kernel, bias, (i, f, z, o), done.T, (carry.c, carry.n, carry.m, carry.h), start
        )
        norm = nn.GroupNorm(
            self.num_heads,
            epsilon=1e-5,
            use_bias=False,
            reduction_axes=(-1,),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="norm",
        )
        return sLSTMCarry(window, *state), norm(hidden.astype(i.dtype)).swapaxes(0, 1)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> sLSTMCarry:
        """The zero window, the zero states and the lowest stabilizer."""
        batch_size, input_dim = input_shape
        window = jnp.zeros((batch_size, self.conv_kernel - 1, input_dim), jnp.float32)
        return sLSTMCarry(window, *self._start(batch_size))

    @nn.nowrap
    def _start(self, batch_size: int) -> State:
        zeros = jnp.zeros((batch_size, self.features), jnp.float32)
        return zeros, zeros, jnp.full_like(zeros, _LOWEST), zeros

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name=name)


def _step(inputs: Gates, recurrent: Gates, state: State) -> State:
    """Eqs. 8-17, elementwise."""
    i, f, z, o = (x.astype(jnp.float32) + h.astype(jnp.float32) for x, h in zip(inputs, recurrent, strict=True))
    c, n, m, _ = state
    kept = nn.log_sigmoid(f) + m
    m = jnp.maximum(kept, i)
    write, forget = jnp.exp(i - m), jnp.exp(kept - m)
    c, n = forget * c + write * jnp.tanh(z), forget * n + write
    return c, n, m, nn.sigmoid(o) * c / n


def _bias(key: Key, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    return jnp.zeros(shape, dtype).at[1].set(jnp.linspace(3.0, 6.0, shape[1], dtype=dtype))
