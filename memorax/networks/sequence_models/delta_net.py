"""DeltaNet: a fast weight matrix whose entries are overwritten."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.delta_rule import delta_rule
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_positive, require_wide_heads


@struct.dataclass
class DeltaNetCarry:
    """What DeltaNet remembers, float32.

    Attributes:
        window: the last inputs of the convolution, `[B, d_conv - 1, 3 * features]`.
        state: `[B, num_heads, features // num_heads, features // num_heads]`, values by keys.
    """

    window: Array
    state: Array


class DeltaNetCell(MemoroidCell):
    """DeltaNet layer (Schlag et al., 2021, "Linear Transformers Are Secretly Fast Weight Programmers", Eqs. 20-25).

    With the feature map, the normalisation and the chunkwise form of Yang et al. (2024, "Parallelizing Linear
    Transformers with the Delta Rule over Sequence Length", Section 3):

        q, k, v = silu(conv(W x_t));  q, k = q / |q|, k / |k|;  beta = sigmoid(W_beta x_t)
        S_t = S_{t-1} (I - beta k k^T) + beta v k^T
        y_t = W_o RMSNorm(S_t q)

    Attributes:
        features: size of the outputs, and of all heads together.
        num_heads: number of heads; must divide `features`, into parts of at least 2, which are normalised.
        d_conv: width of the convolution.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
        gated: whether `gate` gives back a size to what the norm leaves of a head of 1, its sign.
    """

    features: int
    num_heads: int = 4
    d_conv: int = 4
    chunk_length: int = 16
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True
    gated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "d_conv", "chunk_length")
        require_divisor(self, "num_heads", "features", self.features)
        if not self.gated:
            require_wide_heads(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: DeltaNetCarry) -> tuple[DeltaNetCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=0, out_axis=())
        kernel = self.param("conv_kernel", init, (self.d_conv, 3 * self.features), self.param_dtype)
        window, qkv = causal_convolution(dense(3 * self.features, name="qkv")(inputs), kernel, done, carry.window)
        heads = nn.silu(qkv.astype(jnp.float32)).reshape(*inputs.shape[:2], 3 * self.num_heads, -1)
        queries, keys, values = jnp.split(heads, 3, axis=2)
        queries, keys = _normalize(queries), _normalize(keys)
        beta = nn.sigmoid(dense(self.num_heads, name="beta")(inputs).astype(jnp.float32))[..., None]

        state, outputs = delta_rule(
            self.log_decay(inputs),
            keys,
            -beta * keys,
            None,
            values,
            queries,
            done,
            carry.state,
            self.chunk_length,
        )
        outputs = nn.RMSNorm(epsilon=1e-5, dtype=self.dtype, param_dtype=self.param_dtype, name="norm")(
            outputs.astype(qkv.dtype)
        )
        outputs = self.gate(inputs, outputs.reshape(*inputs.shape[:2], self.features))
        return DeltaNetCarry(window, state), dense(self.features, name="out")(outputs)

    def log_decay(self, inputs: Array) -> Array | None:
        """How the state decays before it is overwritten: `[B, T, num_heads, 1]`, or not at all, as here."""
        return None

    def gate(self, inputs: Array, outputs: Array) -> Array:
        """What passes of the normalised outputs `[B, T, features]`: all, here."""
        return outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> DeltaNetCarry:
        """The zero window and the zero state."""
        batch_size, size = input_shape[0], self.features // self.num_heads
        return DeltaNetCarry(
            window=jnp.zeros((batch_size, self.d_conv - 1, 3 * self.features)),
            state=jnp.zeros((batch_size, self.num_heads, size, size)),
        )


def _normalize(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6)
