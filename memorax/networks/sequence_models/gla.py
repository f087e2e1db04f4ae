"""Gated linear attention."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.networks.dense import Dense
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.gated_linear_attention import gated_linear_attention
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_positive, require_wide_heads

SMALLEST_LOG_GATE = -4.0
LONGEST_CHUNK = int(-64 / SMALLEST_LOG_GATE)
"""What `gated_linear_attention` allows where each component of the keys decays by itself."""


class GLACell(MemoroidCell):
    """Gated linear attention layer (Yang et al., 2023, "Gated Linear Attention Transformers", Section 4).

        q, k, v = W_q x_t / sqrt(key_dim), W_k x_t, W_v x_t
        alpha = sigmoid(W_2 W_1 x_t + b)^(1 / gate_logit_normalizer)               one for each component of the keys
        S_t = S_{t-1} diag(alpha) + v k^T;  o_t = S_t q
        y_t = W_o (silu(W_r x_t + b_r) * LayerNorm(o_t))

    Gates are kept above `e^-4`, which the sixteenth root of a sigmoid does not come near.

    Attributes:
        features: size of the outputs and of all values together.
        num_heads: number of heads; must divide `key_features` and `features`, the latter into parts of at
            least 2, which are normalised.
        key_features: size of all keys together, d_k; half of `features` where None.
        gate_low_rank_dim: rank of the gates' projection.
        gate_logit_normalizer: tau, which makes the gates forget slowly.
        chunk_length: steps computed at once, at most 16; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    key_features: int | None = None
    gate_low_rank_dim: int = 16
    gate_logit_normalizer: float = 16.0
    chunk_length: int = 16
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "gate_low_rank_dim", "gate_logit_normalizer", "chunk_length")
        if self.chunk_length > LONGEST_CHUNK:
            raise ValueError(
                f"GLACell chunk_length ({self.chunk_length}) must be at most {LONGEST_CHUNK}: the inverse of "
                "the decay over a chunk must be a float32"
            )
        require_divisor(self, "num_heads", "features", self.features)
        if self.d_k < 1:
            raise ValueError(f"GLACell features ({self.features}) must be at least 2: keys have half of them")
        require_divisor(self, "num_heads", "key_features", self.d_k)
        require_wide_heads(self)
        super().__post_init__()

    @property
    def d_k(self) -> int:
        """Size of all keys together."""
        return self.features // 2 if self.key_features is None else self.key_features

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, dtype=self.dtype, param_dtype=self.param_dtype)
        sizes = [self.d_k, self.d_k, self.features, self.gate_low_rank_dim]
        parts = jnp.split(dense(sum(sizes), use_bias=False, name="qkvg")(inputs), np.cumsum(sizes[:-1]), axis=-1)
        gates = dense(self.d_k, name="alpha")(parts.pop())
        heads = (*inputs.shape[:2], self.num_heads, -1)
        queries, keys, values, gates = (x.astype(jnp.float32).reshape(heads) for x in (*parts, gates))
        log_decay = jnp.maximum(nn.log_sigmoid(gates) / self.gate_logit_normalizer, SMALLEST_LOG_GATE)
        queries = queries * queries.shape[-1] ** -0.5
        carry, outputs = gated_linear_attention(log_decay, keys, values, queries, done, carry, self.chunk_length)
        gate = nn.silu(dense(self.features, name="r")(inputs))
        outputs = nn.LayerNorm(
            epsilon=1e-5,
            use_bias=False,
            use_fast_variance=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="norm",
        )(outputs.astype(gate.dtype))
        return carry, dense(self.features, use_bias=False, name="out")(gate * outputs.reshape(gate.shape))

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The zero state, float32 `[B, num_heads, features // num_heads, key_features // num_heads]`."""
        return jnp.zeros((input_shape[0], self.num_heads, self.features // self.num_heads, self.d_k // self.num_heads))
