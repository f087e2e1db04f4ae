"""Learned absolute positions, added to the inputs."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.sequence_models.ops.windowed_attention import count_positions
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key


class LearnedPositionalEmbedding(SequenceModel):
    """Adds a vector that is learned for each position in the episode (Gehring et al., 2017, Section 3.1; GPT-2).

    It stands before layers that would not know positions, such as `SelfAttention(64, positional_embedding=None)`.
    Positions count on from call to call, the carry, and from 0 at the start of an episode.

    Attributes:
        num_positions: number of positions; all later ones have the vector of the last.
        dtype: dtype of the outputs.
        param_dtype: dtype of the parameters.
    """

    num_positions: int = 1024
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the number."""
        if self.num_positions < 1:
            raise ValueError(f"LearnedPositionalEmbedding num_positions ({self.num_positions}) must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        shape = (self.num_positions, inputs.shape[-1])
        table = self.param("embedding", nn.initializers.normal(0.02), shape, self.param_dtype)
        positions = count_positions(done, carry)
        inputs, table = promote_dtype(inputs, table, dtype=self.dtype)
        return positions[:, -1] + 1, inputs + table[jnp.minimum(positions, self.num_positions - 1)]

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """How many inputs of the episode were consumed, int32 `[B]`."""
        return jnp.zeros(input_shape[:1], jnp.int32)
