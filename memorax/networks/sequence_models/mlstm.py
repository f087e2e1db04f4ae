"""The LSTM with a matrix memory."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense, block_diagonal, project
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.division import divide_by_shared
from memorax.networks.sequence_models.ops.gated_linear_attention import weighted_linear_attention
from memorax.networks.sequence_models.ops.running_maximum import running_maximum
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_positive


@struct.dataclass
class mLSTMCarry:
    """What mLSTM remembers, float32.

    Attributes:
        window: the last inputs of the convolution, `[B, conv1d_kernel_size - 1, d_inner]`.
        memory: C and, as its last row, the normaliser n, `[B, num_heads, head_dim + 1, head_dim]`, both divided by
            `exp(maximum)`.
        maximum: the stabiliser m, `[B, num_heads]`.
    """

    window: Array
    memory: Array
    maximum: Array


class mLSTMCell(MemoroidCell):
    """mLSTM block (Beck et al., 2024, "xLSTM: Extended Long Short-Term Memory", Section 2.3 and Figure 11).

        x, z = split(W_up u_t)
        c = silu(conv(x));  q, k = W_q c, W_k c / sqrt(head_dim);  v = W_v x       block-diagonal projections
        log i, f~ = W_if [q; k; v] + b_if;  log f = log sigmoid(f~)
        m_t = max(log f + m_{t-1}, log i)                                         Eq. 15
        C_t = exp(log f + m_{t-1} - m_t) C_{t-1} + exp(log i - m_t) v k^T         Eqs. 16, 17 and 19
        n_t = exp(log f + m_{t-1} - m_t) n_{t-1} + exp(log i - m_t) k             Eq. 20
        h_t = C_t q / max(|n_t^T q|, exp(-m_t))                                   Eqs. 21 and 77
        y_t = W_down ((LayerNorm(h_t) + skip * c) * silu(z))

    The normaliser is the memory of a value that is always one. The result does not depend on m, which keeps the
    exponential input gate in range.

    Attributes:
        features: size of the outputs.
        num_heads: number of heads; must divide `d_inner`.
        proj_factor: `d_inner = proj_factor * features`.
        conv1d_kernel_size: width of the causal convolution.
        qkv_proj_blocksize: size of the blocks of the projections to q, k and v; must divide `d_inner`.
        forget_bias_range: biases of the forget gates at initialization, from the first head to the last.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    proj_factor: int = 2
    conv1d_kernel_size: int = 4
    qkv_proj_blocksize: int = 4
    forget_bias_range: tuple[float, float] = (3.0, 6.0)
    chunk_length: int = 32
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "proj_factor", "conv1d_kernel_size", "chunk_length")
        require_divisor(self, "num_heads", "proj_factor * features", self.d_inner)
        require_divisor(self, "qkv_proj_blocksize", "proj_factor * features", self.d_inner)
        super().__post_init__()

    @property
    def d_inner(self) -> int:
        """Number of channels."""
        return self.proj_factor * self.features

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: mLSTMCarry) -> tuple[mLSTMCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, dtype=self.dtype, param_dtype=self.param_dtype)
        conv_kernel = self.param(
            "conv_kernel", nn.initializers.lecun_uniform(), (self.conv1d_kernel_size, self.d_inner), self.param_dtype
        )
        conv_bias = self.param("conv_bias", nn.initializers.zeros, (self.d_inner,), self.param_dtype)
        skip = self.param("skip", nn.initializers.ones, (self.d_inner,), self.param_dtype)

        x, z = jnp.split(dense(2 * self.d_inner, use_bias=False, name="up_proj")(inputs), 2, axis=-1)
        window, convolved = causal_convolution(x, conv_kernel, done, carry.window)
        convolved = nn.silu(convolved + conv_bias.astype(x.dtype)[None, None])
        queries, keys, values, gates = self._project(convolved, x)
        maximum, memory, h = self._remember(queries, keys, values, gates, done, carry)
        h = nn.LayerNorm(
            epsilon=1e-5,
            reduction_axes=-1,
            feature_axes=(-2, -1),
            use_bias=False,
            use_fast_variance=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="norm",
        )(h.astype(x.dtype))
        h = h.reshape(x.shape) + skip.astype(x.dtype)[None, None] * convolved
        outputs = dense(self.features, use_bias=False, name="down_proj")(h * nn.silu(z))
        return mLSTMCarry(window, memory, maximum), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> mLSTMCarry:
        """The zero window, the zero memory and the zero stabiliser."""
        batch_size, head_dim = input_shape[0], self.d_inner // self.num_heads
        return mLSTMCarry(
            window=jnp.zeros((batch_size, self.conv1d_kernel_size - 1, self.d_inner)),
            memory=jnp.zeros((batch_size, self.num_heads, head_dim + 1, head_dim)),
            maximum=jnp.zeros((batch_size, self.num_heads)),
        )

    def _project(self, convolved: Array, x: Array) -> tuple[Array, Array, Array, Array]:
        """Q and k of the convolved inputs, v of the others, and the gates.

        Without a nonlinearity between, the kernels are multiplied first, so that each input is in one product.
        """
        size = self.qkv_proj_blocksize
        init, shape = nn.initializers.lecun_normal(batch_axis=(0,)), (self.d_inner // size, size, size)
        q, k, v = (
            block_diagonal(self.param(f"{name}_proj", init, shape, self.param_dtype)).astype(x.dtype) for name in "qkv"
        )
        zeros, width = nn.initializers.zeros, 2 * self.num_heads
        to_gates = self.param("gates_kernel", zeros, (3 * self.d_inner, width), self.param_dtype).astype(x.dtype)
        bias = self.param("gates_bias", self._gate_bias, (width,), self.param_dtype).astype(x.dtype)
        from_q, from_k, from_v = jnp.split(to_gates, 3)
        of_convolved = jnp.concatenate([q, k, q @ from_q + k @ from_k], axis=-1)
        queries, keys, gates = jnp.split(project(convolved, of_convolved), [self.d_inner, 2 * self.d_inner], axis=-1)
        values, more = jnp.split(project(x, jnp.concatenate([v, v @ from_v], axis=-1)), [self.d_inner], axis=-1)
        return queries, keys, values, gates + more + bias[None, None]

    def _remember(
        self, queries: Array, keys: Array, values: Array, gates: Array, done: Array, carry: mLSTMCarry
    ) -> tuple[Array, Array, Array]:
        """The new stabiliser and memory, and `h` `[B, T, num_heads, head_dim]`."""
        heads = (*queries.shape[:2], self.num_heads, -1)
        queries, keys, values = (x.astype(jnp.float32).reshape(heads) for x in (queries, keys, values))
        keys = keys * keys.shape[-1] ** -0.5
        log_input, forget = jnp.split(gates.astype(jnp.float32).swapaxes(0, 1), 2, axis=-1)  # [T, B, H]
        log_forget = nn.log_sigmoid(forget)
        previous, maxima = running_maximum(log_forget, log_input, done.T, carry.maximum)
        log_decay, log_scale = log_forget + previous - maxima, log_input - maxima
        log_decay, log_scale, maxima = (x.swapaxes(0, 1)[..., None] for x in (log_decay, log_scale, maxima))

        memory, read, weights = weighted_linear_attention(
            log_decay, keys * jnp.exp(log_scale), values, queries, done, carry.memory, self.chunk_length
        )
        h = divide_by_shared(read, jnp.maximum(jnp.abs(weights), jnp.exp(-maxima)))
        return maxima[:, -1, :, 0], memory, h

    @nn.nowrap
    def _gate_bias(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        log_input = 0.1 * jax.random.normal(key, (self.num_heads,), dtype)
        return jnp.concatenate([log_input, jnp.linspace(*self.forget_bias_range, self.num_heads, dtype=dtype)])
