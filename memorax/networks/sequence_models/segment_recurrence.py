"""Attention with the memory and the relative positions of Transformer-XL."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import Dense
from memorax.networks.positional_embeddings import sinusoids
from memorax.networks.sequence_models.ops.windowed_attention import count_positions, ring_after, windowed_attention
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Key, where
from memorax.validation import require_even


@struct.dataclass
class SegmentRecurrenceCarry:
    """What is remembered of the segments before: the layer's last inputs in the current episode.

    Attributes:
        memory: float32 `[B, memory_length, F]`: the input at a position lies in slot `position % memory_length`, and
            empty slots are zero.
        position: number of inputs of the episode consumed so far, int32 `[B]`.
    """

    memory: Array
    position: Array


class SegmentRecurrence(SequenceModel):
    """Multi-head attention over remembered hidden states (Dai et al., 2019, "Transformer-XL", Sections 3.2 and 3.3).

        q_i = W_q x_i
        A_ij = q_i^T W_k x_j + q_i^T W_r R_{i-j} + u^T W_k x_j + v^T W_r R_{i-j}        relative to the query
        y_i = W_o sum_j softmax_j(A_ij / sqrt(D)) W_v x_j

    with the sinusoids `R` of Vaswani et al. (2017). The memory holds inputs, the hidden states of the layer below, and
    keys and values are projected from it with the parameters of the moment: what was remembered before an update is
    read with the new ones. In the paper an input sees its segment and the `memory_length` inputs before it, so that
    what it sees depends on where the segments begin; here it sees the last `memory_length` inputs of the episode, its
    own included, and exactly these however the sequence is cut. Within a call gradients reach every input; into the
    calls before they end where the caller takes the carry as given, which is the paper's stop-gradient.

    Attributes:
        features: size of the outputs, and of all heads together.
        num_heads: number of heads; must divide `features`.
        memory_length: number of last inputs that attention sees.
        dtype: dtype of the computation; the carry and the softmax are float32.
        param_dtype: dtype of the parameters.
    """

    features: int
    num_heads: int = 4
    memory_length: int = 64
    dtype: jnp.dtype | None = None
    param_dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("features", "num_heads", "memory_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"SegmentRecurrence {name} ({getattr(self, name)}) must be at least 1")
        if self.features % self.num_heads:
            raise ValueError(f"SegmentRecurrence num_heads ({self.num_heads}) must divide features ({self.features})")
        require_even(self, f"features ({self.features})", self.features, "sines and cosines of positions come in pairs")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, inputs: Array, done: Array, carry: SegmentRecurrenceCarry
    ) -> tuple[SegmentRecurrenceCarry, Array]:
        """Run over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        width, head_dim = inputs.shape[-1], self.features // self.num_heads
        w_k, w_v = self._projection("W_k", width), self._projection("W_v", width)
        w_r = self._projection("W_r", self.features)
        u, v = (
            self.param(name, nn.initializers.zeros, (self.num_heads, head_dim), self.param_dtype) for name in ("u", "v")
        )
        relative = jnp.asarray(sinusoids(self.memory_length, self.features))
        queries = Dense(self.features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name="W_q")(
            inputs
        ).reshape(*inputs.shape[:2], self.num_heads, head_dim)
        inputs, queries, w_k, w_v, w_r, u, v, relative = promote_dtype(
            inputs, queries, w_k, w_v, w_r, u, v, relative, dtype=self.dtype
        )

        positional = jnp.einsum("lf,fhd->lhd", relative, w_r)
        bias = jnp.einsum("bthd,lhd->bhtl", queries + v[None, None], positional) * head_dim**-0.5
        queries, positions = queries + u[None, None], count_positions(done, carry.position)
        memory, inputs = carry.memory[:, None], inputs[:, None]
        if done.shape[1] == 1:
            # `q^T (W_k x)` is `(W_k^T q)^T x`: all heads attend to the inputs themselves, which are not projected.
            queries = jnp.einsum("bthd,fhd->bhtf", queries, w_k) * (width / head_dim) ** 0.5
            memory, _, outputs = windowed_attention(queries, inputs, inputs, positions, memory, memory, bias)
            outputs = jnp.einsum("bhtf,fhd->bthd", outputs, w_v)
        else:
            # Over a sequence it takes less to project every input once than to attend with every head to all of them.
            # What is stale is zero before that: the gradient of a product has the NaN that is selected away after it.
            memory = where(positions[:, 0] == 0, jnp.zeros_like(memory), memory)
            (keys, old_keys), (values, old_values) = (
                [jnp.einsum("bgtf,fhd->bhtd", x, w) for x in (inputs, memory.astype(inputs.dtype))] for w in (w_k, w_v)
            )
            queries = queries.swapaxes(1, 2)
            outputs = windowed_attention(queries, keys, values, positions, old_keys, old_values, bias)[2].swapaxes(1, 2)
            memory = ring_after(memory, inputs, positions)
        outputs = outputs.reshape(*done.shape, self.features)
        outputs = Dense(self.features, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name="W_o")(
            outputs
        )
        return SegmentRecurrenceCarry(memory[:, 0], positions[:, -1] + 1), outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> SegmentRecurrenceCarry:
        """An empty memory."""
        return SegmentRecurrenceCarry(
            memory=jnp.zeros((input_shape[0], self.memory_length, input_shape[1])),
            position=jnp.zeros(input_shape[:1], jnp.int32),
        )

    def _projection(self, name: str, inputs: int) -> Array:
        """A kernel `[F, H, D]`."""
        shape = (inputs, self.num_heads, self.features // self.num_heads)
        return self.param(name, nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2)), shape, self.param_dtype)
