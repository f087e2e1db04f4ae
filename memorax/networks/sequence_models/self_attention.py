"""Causal self-attention over the current episode."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax import struct

from memorax.networks.dense import Dense
from memorax.networks.positional_embeddings import PositionalEmbedding, RoPE
from memorax.networks.sequence_models.ops.windowed_attention import count_positions, windowed_attention
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key
from memorax.validation import require_even


@struct.dataclass
class SelfAttentionCarry:
    """What attention remembers: the last inputs of the current episode.

    Attributes:
        keys, values: float32 `[B, num_kv_heads, context_length, head_dim]`: the input at a position lies in slot
            `position % context_length`, and empty slots are zero. The keys are embedded already.
        position: number of inputs of the episode consumed so far, int32 `[B]`.
    """

    keys: Array
    values: Array
    position: Array


class SelfAttention(SequenceModel):
    """Multi-head causal self-attention (Vaswani et al., 2017, Section 3.2) over the current episode.

    Each input attends to the last `context_length` inputs of its episode, itself included, and to exactly these
    whether the sequence comes whole, in chunks or step by step.

    Attributes:
        features: size of the outputs, and of all heads together.
        num_heads: number of heads; must divide `features`.
        context_length: number of last inputs that attention sees.
        num_kv_heads: number of heads of keys and values, each shared by `num_heads / num_kv_heads` heads of queries
            (Ainslie et al., 2023, "GQA", Section 2.2); `num_heads` where None.
        positional_embedding: embedding of positions, counted from the start of the episode; None for no positions.
        use_bias: whether the projections have biases.
        dtype: dtype of the computation; the carry and the softmax are float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    context_length: int = 64
    num_kv_heads: int | None = None
    positional_embedding: PositionalEmbedding | None = RoPE()
    use_bias: bool = False
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "num_heads", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"SelfAttention {name} ({getattr(self, name)}) must be at least 1")
        if self.features % self.num_heads:
            raise ValueError(f"SelfAttention num_heads ({self.num_heads}) must divide features ({self.features})")
        if self.num_kv_heads is not None and (self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads):
            raise ValueError(
                f"SelfAttention num_kv_heads ({self.num_kv_heads}) must divide num_heads ({self.num_heads})"
            )
        if isinstance(self.positional_embedding, RoPE):
            heads = f"features / num_heads ({self.features} / {self.num_heads})"
            require_even(self, heads, self.head_dim, "RoPE rotates pairs")
        super().__post_init__()

    @property
    def head_dim(self) -> int:
        """Size of a head."""
        return self.features // self.num_heads

    @property
    def _kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: SelfAttentionCarry) -> tuple[SelfAttentionCarry, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        heads = self._dense((self.num_heads + 2 * self._kv_heads) * self.head_dim, "qkv")(inputs)
        heads = heads.reshape(*heads.shape[:2], -1, self.head_dim).swapaxes(1, 2)  # [B, H + 2 G, T, D]
        queries, keys, values = jnp.split(heads, [self.num_heads, self.num_heads + self._kv_heads], axis=1)
        positions, bias = count_positions(done, carry.position), None
        if self.positional_embedding is not None:
            queries, keys = self.positional_embedding(queries, keys, positions)
            bias = self.positional_embedding.bias(self.num_heads, self.context_length)

        cached_keys, cached_values, outputs = windowed_attention(
            queries, keys, values, positions, carry.keys, carry.values, bias
        )
        outputs = outputs.swapaxes(1, 2).reshape(*inputs.shape[:2], self.features)
        outputs = self._dense(self.features, "out")(outputs)
        return SelfAttentionCarry(cached_keys, cached_values, positions[:, -1] + 1), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> SelfAttentionCarry:
        """An empty cache."""
        shape = (input_shape[0], self._kv_heads, self.context_length, self.head_dim)
        return SelfAttentionCarry(
            keys=jnp.zeros(shape), values=jnp.zeros(shape), position=jnp.zeros(input_shape[:1], jnp.int32)
        )

    @nn.nowrap
    def _dense(self, features: int, name: str) -> nn.Dense:
        return Dense(features, self.use_bias, self.dtype, self.param_dtype, name=name)
