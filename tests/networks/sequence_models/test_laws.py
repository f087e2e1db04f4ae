"""The laws over every sequence model, and over the sizes at which their algorithms change course."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import pytest

from memorax import testing
from memorax.networks import MLP
from memorax.networks.sequence_models import (
    RNN,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    SelfAttention,
    SequenceModel,
    SequenceModelWrapper,
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
        "lru": Memoroid(LRUCell(FEATURES, state_dim=6, dtype=dtype)),
        "mingru": Memoroid(MinGRUCell(FEATURES, dtype=dtype)),
        "mamba": Memoroid(MambaCell(FEATURES, head_dim=8, chunk_length=5, dtype=dtype)),
        "attention": SelfAttention(FEATURES, num_heads=2, context_length=7, dtype=dtype),
    }


MODELS = make_models()
VARIANTS = {
    "wider_than_its_inputs": RNN(nn.GRUCell(12)),
    "lstm_cell": RNN(nn.LSTMCell(FEATURES)),
    "lru_of_other_sizes": Memoroid(LRUCell(5, state_dim=12, r_min=0.9, r_max=0.999, max_phase=0.3)),
    "mamba_of_one_chunk": Memoroid(MambaCell(FEATURES, chunk_length=64)),
    "mamba_of_chunks_of_one": Memoroid(MambaCell(FEATURES, chunk_length=1)),
    "mamba_without_convolution": Memoroid(MambaCell(12, expand=1, head_dim=4, d_conv=1)),
    "mamba_with_a_wide_convolution": Memoroid(MambaCell(FEATURES, d_conv=9)),
    "attention_to_itself": SelfAttention(FEATURES, context_length=1),
    "attention_as_long_as_the_sequence": SelfAttention(FEATURES, context_length=24),
    "attention_longer_than_the_sequence": SelfAttention(FEATURES, num_heads=1, context_length=40),
    "a_stack_inside": SequenceModelWrapper(MLP(FEATURES)),
}


@pytest.mark.parametrize("model", [*MODELS.values(), *VARIANTS.values()], ids=[*MODELS, *VARIANTS])
def test_acts_as_it_learns_and_never_leaks(model: SequenceModel) -> None:
    testing.check_sequence_model(model, FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_random_chunks(name: str) -> None:
    laws.check_random_chunks(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_that_of_the_steps(name: str) -> None:
    laws.check_gradient(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_ten_thousand_steps(name: str) -> None:
    laws.check_long_sequence(MODELS[name], FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16(name: str) -> None:
    laws.check_bfloat16(make_models(jnp.bfloat16)[name], FEATURES)


@pytest.mark.parametrize("name", MODELS)
def test_vmap_over_parameters(name: str) -> None:
    laws.check_vmap_over_parameters(MODELS[name], FEATURES)
