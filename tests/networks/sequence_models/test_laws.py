"""The laws over every sequence model, and over the sizes at which their algorithms change course."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import pytest

from memorax import testing
from memorax.networks import architectures
from memorax.networks.blocks import GLU, GatedResidual, MoE, PostNorm, PreNorm, Projection, Residual, Stack
from memorax.networks.positional_embeddings import ALiBi
from memorax.networks.sequence_models import (
    RNN,
    CausalConvolution,
    DeltaNetCell,
    FFMCell,
    FrameStack,
    FWPCell,
    GatedDeltaNetCell,
    GLACell,
    IndRNNCell,
    LearnedPositionalEmbedding,
    LinearAttentionCell,
    LMUCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    MinLSTMCell,
    RetNetCell,
    RGLRUCell,
    RTUCell,
    RWKV7Cell,
    S4DCell,
    S5Cell,
    SegmentRecurrence,
    SelfAttention,
    SequenceModel,
    SequenceModelWrapper,
    SHMCell,
    mLSTMCell,
    sLSTMCell,
)
from tests.networks.sequence_models import laws

FEATURES = 8


class UserCell(nn.RNNCellBase):
    """A cell Flax does not know, with a state that starts at one: a leaky average, then a layer."""

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, carry: jnp.ndarray, inputs: jnp.ndarray) -> tuple[jnp.ndarray, jnp.ndarray]:
        carry = 0.9 * carry + 0.1 * nn.Dense(self.features, dtype=self.dtype)(inputs)
        return carry, nn.tanh(nn.Dense(self.features, dtype=self.dtype)(carry))

    @nn.nowrap
    def initialize_carry(self, rng: object, input_shape: tuple[int, ...]) -> jnp.ndarray:
        return jnp.ones((*input_shape[:-1], self.features))


def make_models(dtype: jnp.dtype | None = None) -> dict[str, SequenceModel]:
    return {
        "memoryless": SequenceModelWrapper(nn.Dense(FEATURES, dtype=dtype)),
        "simple": RNN(nn.SimpleCell(FEATURES, residual=True, dtype=dtype)),
        "gru": RNN(nn.GRUCell(FEATURES, dtype=dtype)),
        "mgu": RNN(nn.MGUCell(FEATURES, dtype=dtype)),
        "lstm": RNN(nn.OptimizedLSTMCell(FEATURES, dtype=dtype)),
        "user_cell": RNN(UserCell(FEATURES, dtype=dtype)),
        "slstm": Memoroid(sLSTMCell(FEATURES, num_heads=2, dtype=dtype)),
        "shm": Memoroid(SHMCell(FEATURES, memory_size=5, dtype=dtype)),
        "rtu": Memoroid(RTUCell(FEATURES, dtype=dtype)),
        "indrnn": Memoroid(IndRNNCell(FEATURES, dtype=dtype)),
        "lmu": Memoroid(LMUCell(FEATURES, order=4, theta=8, dtype=dtype)),
        "lru": Memoroid(LRUCell(FEATURES, state_dim=6, dtype=dtype)),
        "s5": Memoroid(S5Cell(FEATURES, state_dim=6, dtype=dtype)),
        "s4d": Memoroid(S4DCell(FEATURES, d_state=4, chunk_length=7, dtype=dtype)),
        "mingru": Memoroid(MinGRUCell(FEATURES, dtype=dtype)),
        "minlstm": Memoroid(MinLSTMCell(FEATURES, dtype=dtype)),
        "rglru": Memoroid(RGLRUCell(FEATURES, dtype=dtype)),
        "ffm": Memoroid(FFMCell(FEATURES, memory_size=4, context_size=2, dtype=dtype)),
        "mamba": Memoroid(MambaCell(FEATURES, head_dim=8, chunk_length=5, dtype=dtype)),
        "mlstm": Memoroid(mLSTMCell(FEATURES, num_heads=2, chunk_length=5, dtype=dtype)),
        "linear_attention": Memoroid(LinearAttentionCell(FEATURES, num_heads=2, chunk_length=8, dtype=dtype)),
        "retnet": Memoroid(RetNetCell(FEATURES, num_heads=2, chunk_length=8, dtype=dtype)),
        "gla": Memoroid(GLACell(FEATURES, num_heads=2, chunk_length=6, dtype=dtype)),
        "deltanet": Memoroid(DeltaNetCell(FEATURES, num_heads=2, chunk_length=8, dtype=dtype)),
        "gated_deltanet": Memoroid(GatedDeltaNetCell(FEATURES, num_heads=2, chunk_length=7, dtype=dtype)),
        "fwp": Memoroid(FWPCell(FEATURES, num_heads=2, chunk_length=8, dtype=dtype)),
        "rwkv7": Memoroid(RWKV7Cell(FEATURES, num_heads=2, chunk_length=6, dtype=dtype)),
        "attention": SelfAttention(FEATURES, num_heads=2, context_length=7, dtype=dtype),
        "attention_with_alibi": SelfAttention(
            FEATURES, 4, context_length=7, num_kv_heads=2, positional_embedding=ALiBi(), use_bias=True, dtype=dtype
        ),
        "segment_recurrence": SegmentRecurrence(FEATURES, num_heads=2, memory_length=7, dtype=dtype),
        "learned_positional_embedding": LearnedPositionalEmbedding(7, dtype=dtype),
        "causal_convolution": CausalConvolution(3),
        "frame_stack": Stack((FrameStack(3), nn.Dense(FEATURES, dtype=dtype))),
        "blocks": Stack(
            (
                GatedResidual(PreNorm(RNN(nn.GRUCell(FEATURES, dtype=dtype)), nn.LayerNorm(dtype=dtype)), dtype=dtype),
                PostNorm(Residual(MoE(FEATURES, 2, dtype=dtype)), nn.RMSNorm(dtype=dtype)),
                Residual(nn.Sequential((GLU(6, dtype=dtype), Projection(FEATURES, dtype=dtype)))),
            ),
            depth=2,
        ),
        "gtrxl": architectures.gtrxl(FEATURES, num_heads=2, memory_length=7, dtype=dtype),
        "transformer_xl": architectures.transformer_xl(FEATURES, num_heads=2, memory_length=7, dtype=dtype),
        "gpt2": architectures.gpt2(FEATURES, num_heads=2, context_length=7, dtype=dtype),
        "xlstm": architectures.xlstm(FEATURES, num_heads=2, dtype=dtype),
        "mamba_stack": architectures.mamba(FEATURES, dtype=dtype),
        "griffin": architectures.griffin(FEATURES, num_heads=2, context_length=7, dtype=dtype),
        "s5_stack": architectures.s5(FEATURES, dtype=dtype),
    }


MODELS = make_models()
COMPOSED = ("gtrxl", "transformer_xl", "gpt2", "xlstm", "mamba_stack", "griffin", "s5_stack")
"""Parts that are tested by themselves: as wholes they are checked in the slow tests."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in COMPOSED else name for name in MODELS]
# Sizes at which an algorithm changes course, beside those of the catalogue.
VARIANTS = {
    "simple": MODELS["simple"],
    "user_cell": MODELS["user_cell"],
    "wider_than_its_inputs": RNN(nn.GRUCell(12)),
    "mamba_in_chunks": MODELS["mamba"],
    "mamba_without_convolution": Memoroid(MambaCell(12, expand=1, head_dim=4, d_conv=1)),
    "attention_with_alibi": MODELS["attention_with_alibi"],
    "segment_recurrence": MODELS["segment_recurrence"],
    "segments_longer_than_the_sequence": SegmentRecurrence(12, num_heads=3, memory_length=30),
    "learned_positional_embedding": MODELS["learned_positional_embedding"],
    "attention_to_itself": SelfAttention(FEATURES, context_length=1),
    "attention_as_long_as_the_sequence": SelfAttention(FEATURES, context_length=24),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_acts_as_it_learns_and_never_leaks(name: str) -> None:
    testing.check_sequence_model(VARIANTS[name], FEATURES)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_steps(name: str) -> None:
    laws.check_gradient(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_steps(name: str) -> None:
    laws.check_long_sequence(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16(name: str) -> None:
    laws.check_bfloat16(make_models(jnp.bfloat16)[name], FEATURES)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_parameters(name: str) -> None:
    laws.check_vmap_over_parameters(MODELS[name], FEATURES)
