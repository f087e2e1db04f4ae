"""Multi-scale retention."""

from __future__ import annotations

import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.positional_embeddings import RoPE
from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.ops.gated_linear_attention import gated_linear_attention
from memorax.networks.sequence_models.ops.windowed_attention import count_positions
from memorax.types import Array, Key
from memorax.validation import require_divisor, require_even, require_positive


@struct.dataclass
class RetNetCarry:
    """What retention remembers.

    Attributes:
        state: float32 `[B, num_heads, value_dim, key_dim]`.
        position: number of inputs of the episode consumed so far, int32 `[B]`.
    """

    state: Array
    position: Array


class RetNetCell(MemoroidCell):
    """Gated multi-scale retention (Sun et al., 2023, "Retentive Network: A Successor to Transformer", Section 2).

        q, k, v = W_q x_t, W_k x_t / sqrt(key_dim), W_v x_t                        Eq. 5, Section 2.2
        q, k turned by e^{i n theta} at position n of the episode (xPos)           Eqs. 4, 5
        S_t = gamma S_{t-1} + v k^T;  h_t = S_t q                                  Eq. 6
        y_t = W_o (silu(W_g x_t) * GroupNorm(h_t))                                 Eq. 8

    Head `h` of `H` decays by `gamma = 1 - 2^(-5 - h)`.

    Attributes:
        features: size of the outputs.
        num_heads: number of heads; must divide `features`, into parts of even size.
        value_factor: the values have `value_factor * features` channels (1 in Eq. 8, 2 in the paper's experiments).
        positional_embedding: the rotation.
        chunk_length: steps computed at once; a matter of speed alone.
        dtype: dtype of the projections; the recurrence is float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    value_factor: int = 2
    positional_embedding: RoPE = RoPE()
    chunk_length: int = 32
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32
    in_blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_positive(self, "features", "value_factor", "chunk_length")
        require_divisor(self, "num_heads", "features", self.features)
        heads = f"features / num_heads ({self.features} / {self.num_heads})"
        require_even(self, heads, self.features // self.num_heads, "RoPE rotates pairs")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: RetNetCarry) -> tuple[RetNetCarry, Array]:
        """Run over a sequence; see `MemoroidCell`."""
        dense = functools.partial(Dense, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype)
        num_values = self.value_factor * self.features
        projected = dense(2 * self.features + 2 * num_values, name="qkvg")(inputs)
        parts = jnp.split(projected, np.cumsum([self.features, self.features, num_values]), axis=-1)
        heads = (*inputs.shape[:2], self.num_heads, -1)
        queries, keys, values = (x.astype(jnp.float32).reshape(heads) for x in parts[:3])

        positions = count_positions(done, carry.position)
        turned = self.positional_embedding(queries.swapaxes(1, 2), keys.swapaxes(1, 2), positions)
        queries, keys = (x.swapaxes(1, 2) for x in turned)
        log_decays = np.log1p(-(2.0 ** (-5.0 - np.arange(self.num_heads)))).astype(np.float32)
        log_decay = jnp.broadcast_to(log_decays[None, None, :, None], (*queries.shape[:3], 1))
        keys = keys * keys.shape[-1] ** -0.5
        state, outputs = gated_linear_attention(log_decay, keys, values, queries, done, carry.state, self.chunk_length)
        outputs = nn.LayerNorm(
            epsilon=1e-5, use_bias=False, use_scale=False, use_fast_variance=False, dtype=self.dtype, name="norm"
        )(outputs.astype(projected.dtype))
        outputs = outputs.reshape(parts[3].shape) * nn.silu(parts[3])
        return RetNetCarry(state, positions[:, -1] + 1), dense(self.features, name="out")(outputs)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> RetNetCarry:
        """The zero state."""
        size = self.features // self.num_heads
        return RetNetCarry(
            state=jnp.zeros((input_shape[0], self.num_heads, self.value_factor * size, size)),
            position=jnp.zeros(input_shape[:1], jnp.int32),
        )
