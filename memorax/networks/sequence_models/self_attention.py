"""Causal self-attention over the current episode."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax import struct

from memorax.networks.positional_embeddings import PositionalEmbedding, RoPE
from memorax.networks.sequence_models.ops.windowed_attention import count_positions, windowed_attention
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key


@struct.dataclass
class SelfAttentionCarry:
    """What attention remembers: the last inputs of the current episode.

    Attributes:
        keys, values: float32 `[B, num_heads, context_length, head_dim]`: the input at a position lies in slot
            `position % context_length`, and empty slots are zero. The keys are embedded already.
        position: how many inputs of the episode were consumed, int32 `[B]`.
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
        context_length: how many inputs are attended to.
        positional_embedding: how positions enter; counted from the start of the episode.
        dtype: of the computation; the carry and the softmax are float32.
        param_dtype: of the parameters.
    """

    features: int
    num_heads: int = 4
    context_length: int = 64
    positional_embedding: PositionalEmbedding = RoPE()
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "num_heads", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"SelfAttention {name} ({getattr(self, name)}) must be at least 1")
        if self.features % self.num_heads:
            raise ValueError(f"SelfAttention num_heads ({self.num_heads}) must divide features ({self.features})")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: SelfAttentionCarry) -> tuple[SelfAttentionCarry, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        projected = nn.Dense(
            3 * self.features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name="qkv"
        )(inputs)
        heads = projected.reshape(*projected.shape[:2], 3 * self.num_heads, -1).swapaxes(1, 2)  # [B, 3H, T, D]
        positions = count_positions(done, carry.position)
        queries, keys, values = jnp.split(heads, 3, axis=1)
        queries, keys = self.positional_embedding(queries, keys, positions)

        cached_keys, cached_values, outputs = windowed_attention(
            queries, keys, values, positions, carry.keys, carry.values, self.positional_embedding.bias
        )
        outputs = outputs.swapaxes(1, 2).reshape(*inputs.shape[:2], self.features)
        outputs = nn.Dense(self.features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name="out")(
            outputs
        )
        return SelfAttentionCarry(cached_keys, cached_values, positions[:, -1] + 1), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> SelfAttentionCarry:
        """An empty cache."""
        shape = (input_shape[0], self.num_heads, self.context_length, self.features // self.num_heads)
        return SelfAttentionCarry(
            keys=jnp.zeros(shape), values=jnp.zeros(shape), position=jnp.zeros(input_shape[:1], jnp.int32)
        )
