"""Linear attention."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.positional_embeddings import RoPE
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.division import divide_by_shared
from memorax.networks.sequence_models.ops.gated_linear_attention import weighted_linear_attention
from memorax.networks.sequence_models.ops.windowed_attention import count_positions
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_even, require_positive

SMALLEST_LOG_FEATURE = -20.0
"""The logarithm of the least `phi`: beside a feature of one, float32 does not see it."""


@struct.dataclass
class LinearAttentionCarry:
    """What linear attention remembers.

    Attributes:
        memory: the mean of `v phi(k)^T` over the episode and, as its last row, that of `phi(k)`, float32
            `[B, num_heads, head_dim + 1, num_kernel_features]`.
        position: number of inputs of the episode consumed so far, int32 `[B]`.
    """

    memory: Array
    position: Array


class LinearAttentionCell(MemoroidCell):
    """Linear attention (Katharopoulos et al., 2020, "Transformers are RNNs", Section 3.4).

        q, k, v = W_q x_t, W_k x_t, W_v x_t;  phi(x) = elu(x) + 1                  Eq. 7
        S_t = S_{t-1} + v phi(k)^T;  z_t = z_{t-1} + phi(k)                       Eqs. 18, 19
        y_t = W_o (S_t phi(q)) / (z_t^T phi(q))                                   Eq. 20

    The sums are kept as means, which the quotient does not see: they stay in range however long the episode. Such a
    memory does not know in which order its inputs came; the paper's inputs hold their positions, here queries and keys
    are turned by their position in the episode before `phi` (rotary embedding: Su et al., 2021, "RoFormer").

    Attributes:
        features: size of the outputs.
        num_heads: number of heads; must divide `features`.
        positional_embedding: embedding of positions; None where the inputs hold them.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    positional_embedding: RoPE | None = RoPE()
    chunk_length: int = 32
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "num_heads", "chunk_length")
        require_divisor(self, "num_heads", "features", self.features)
        if self.positional_embedding is not None:
            heads = f"features / num_heads ({self.features} / {self.num_heads})"
            require_even(self, heads, self.features // self.num_heads, "RoPE rotates pairs")
        super().__post_init__()

    @property
    def num_kernel_features(self) -> int:
        """Size of `phi(k)` of each head."""
        return self.features // self.num_heads

    def kernel_features(self, x: Array) -> Array:
        """`phi`, positive: `[B, T, H, features // num_heads]` to `[B, T, H, num_kernel_features]`."""
        # elu(x) + 1, with `exp` instead of `expm1`, which is several times slower. It is bounded below: with features
        # of zero, the sum of weights could be zero and the quotient 0 / 0.
        return jnp.where(x > 0, x + 1, jnp.exp(jnp.where(x > 0, 0.0, jnp.maximum(x, SMALLEST_LOG_FEATURE))))

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: LinearAttentionCarry) -> tuple[LinearAttentionCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
        projected = dense(3 * self.features, name="qkv")(inputs)
        heads = projected.astype(jnp.float32).reshape(*inputs.shape[:2], 3 * self.num_heads, -1)
        queries, keys, values = jnp.split(heads, 3, axis=2)
        positions = count_positions(done, carry.position)
        if self.positional_embedding is not None:
            turned = self.positional_embedding(queries.swapaxes(1, 2), keys.swapaxes(1, 2), positions)
            queries, keys = (x.swapaxes(1, 2) for x in turned)
        queries, keys = self.kernel_features(queries), self.kernel_features(keys)
        # The scale of a query cancels in the quotient. With a largest feature of 1, no finite query overflows.
        queries = divide_by_shared(queries, jax.lax.stop_gradient(jnp.max(queries, axis=-1, keepdims=True)))

        count = jnp.broadcast_to(positions[..., None, None].astype(jnp.float32), (*keys.shape[:3], 1))
        # The memory is a mean: after `count` inputs it decays by count / (count + 1). At the first it is empty.
        log_decay = jnp.log(jnp.maximum(count, 1.0) / (count + 1.0))
        memory, read, weights = weighted_linear_attention(
            log_decay, divide_by_shared(keys, count + 1.0), values, queries, done, carry.memory, self.chunk_length
        )
        outputs = divide_by_shared(read, weights).reshape(*inputs.shape[:2], self.features)
        outputs = dense(self.features, name="out")(outputs.astype(projected.dtype))
        return LinearAttentionCarry(memory, positions[:, -1] + 1), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> LinearAttentionCarry:
        """The zero memory."""
        batch_size, size = input_shape[0], self.num_kernel_features
        return LinearAttentionCarry(
            memory=jnp.zeros((batch_size, self.num_heads, self.features // self.num_heads + 1, size)),
            position=jnp.zeros(input_shape[:1], jnp.int32),
        )
