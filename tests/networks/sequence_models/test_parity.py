"""Every model against an independent float64 transcription of its paper's equations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.positional_embeddings import ALiBi
from memorax.networks.sequence_models import (
    RNN,
    DeltaNetCell,
    FFMCell,
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
    SHMCell,
    mLSTMCell,
    sLSTMCell,
)
from memorax.testing import check_close
from tests.networks.sequence_models import (
    references,
    references_attention,
    references_matrix_state,
    references_recurrent,
)

MAMBA = MambaCell(6, d_state=5, head_dim=4, chunk_length=16)

PARITY: dict[str, tuple[SequenceModel, str | None, Callable[..., Any]]] = {
    "gru": (RNN(nn.GRUCell(7)), "cell", references.gru),
    "lstm": (RNN(nn.LSTMCell(7)), "cell", references.lstm),
    "optimized_lstm": (RNN(nn.OptimizedLSTMCell(7)), "cell", references.lstm),
    "slstm": (Memoroid(sLSTMCell(8, num_heads=2)), "cell", functools.partial(references_recurrent.slstm, num_heads=2)),
    "shm": (Memoroid(SHMCell(7, memory_size=5)), "cell", references_recurrent.shm),
    "rtu": (Memoroid(RTUCell(8)), "cell", references_recurrent.rtu),
    "rtu_linear": (
        Memoroid(RTUCell(8, linear=True)),
        "cell",
        functools.partial(references_recurrent.rtu, linear=True),
    ),
    "indrnn": (Memoroid(IndRNNCell(7)), "cell", references_recurrent.indrnn),
    "lmu": (
        Memoroid(LMUCell(7, order=4, theta=9, memory_d=2)),
        "cell",
        functools.partial(references_recurrent.lmu, order=4, theta=9),
    ),
    "lru": (Memoroid(LRUCell(7, state_dim=9)), "cell", references.lru),
    "s5": (Memoroid(S5Cell(7, state_dim=12, blocks=2)), "cell", references_recurrent.s5),
    "s4d": (Memoroid(S4DCell(7, d_state=4)), "cell", references_recurrent.s4d),
    "s4d_inv": (Memoroid(S4DCell(7, d_state=4, initialization="inv")), "cell", references_recurrent.s4d),
    "mingru": (Memoroid(MinGRUCell(7)), "cell", references.min_gru),
    "minlstm": (Memoroid(MinLSTMCell(7)), "cell", references_recurrent.min_lstm),
    "rglru": (Memoroid(RGLRUCell(6, num_blocks=2)), "cell", references_recurrent.rg_lru),
    "ffm": (Memoroid(FFMCell(7, memory_size=5, context_size=3)), "cell", references_recurrent.ffm),
    "mamba": (Memoroid(MAMBA), "cell", functools.partial(references.mamba, num_heads=MAMBA.num_heads, d_state=5)),
    "mlstm": (
        Memoroid(mLSTMCell(6, num_heads=2, chunk_length=16)),
        "cell",
        functools.partial(references_matrix_state.mlstm, num_heads=2),
    ),
    "linear_attention": (
        Memoroid(LinearAttentionCell(8, num_heads=2, chunk_length=16)),
        "cell",
        functools.partial(references_matrix_state.linear_attention, num_heads=2),
    ),
    "retnet": (
        Memoroid(RetNetCell(8, num_heads=2, chunk_length=16)),
        "cell",
        functools.partial(references_matrix_state.retnet, num_heads=2),
    ),
    "gla": (
        Memoroid(GLACell(8, num_heads=2)),
        "cell",
        functools.partial(references_matrix_state.gla, num_heads=2),
    ),
    "deltanet": (
        Memoroid(DeltaNetCell(6, num_heads=2)),
        "cell",
        functools.partial(references_matrix_state.delta_net, num_heads=2),
    ),
    "gated_deltanet": (
        Memoroid(GatedDeltaNetCell(6, num_heads=2)),
        "cell",
        functools.partial(references_matrix_state.delta_net, num_heads=2),
    ),
    "fwp": (
        Memoroid(FWPCell(8, num_heads=2, chunk_length=16)),
        "cell",
        functools.partial(
            references_matrix_state.linear_attention, num_heads=2, features=references_matrix_state.dpfp_features
        ),
    ),
    "rwkv7": (
        Memoroid(RWKV7Cell(6, num_heads=2)),
        "cell",
        functools.partial(references_matrix_state.rwkv7, num_heads=2),
    ),
    "attention": (
        SelfAttention(12, num_heads=3, context_length=11),
        None,
        functools.partial(references.attention, num_heads=3, context_length=11),
    ),
    "attention_with_alibi_and_shared_heads": (
        SelfAttention(12, 4, 11, num_kv_heads=2, positional_embedding=ALiBi(), use_bias=True),
        None,
        functools.partial(references_attention.grouped_alibi, num_heads=4, num_kv_heads=2, context_length=11),
    ),
    "segment_recurrence": (
        SegmentRecurrence(12, num_heads=3, memory_length=11),
        None,
        functools.partial(references_attention.transformer_xl, memory_length=11),
    ),
    "learned_positional_embedding": (LearnedPositionalEmbedding(9), None, references_attention.learned_positions),
}


def run(model: SequenceModel, features: int = 6, num_steps: int = 70) -> tuple:
    """Perturbed parameters (none left at zero or one), inputs, resets and outputs."""
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = 2 * jax.random.normal(keys[0], (3, num_steps, features))
    done = jax.random.bernoulli(keys[1], 0.05, (3, num_steps))
    carry = model.initialize_carry(keys[2], (3, features))
    params = jax.jit(model.init)(keys[2], inputs[:, :1], done[:, :1], carry)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    _, outputs = jax.jit(model.apply)({"params": params}, inputs, done, carry)
    return params, inputs, done, carry, outputs


@pytest.mark.parametrize("name", PARITY)
def test_parity_with_the_paper(name: str) -> None:
    check_parity(name)


def check_parity(name: str) -> float:
    """Outputs agree with the reference. Returns the largest difference, relative to the largest output."""
    model, scope, reference = PARITY[name]
    params, inputs, done, _, outputs = run(model)
    expected = references.batch(reference, params[scope] if scope else params, inputs, done)
    check_close(outputs, expected, 2e-5)
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    "cell",
    [
        nn.GRUCell(7, gate_fn=nn.hard_sigmoid, activation_fn=nn.soft_sign),
        nn.LSTMCell(7),
        nn.OptimizedLSTMCell(7, activation_fn=nn.relu),
        nn.SimpleCell(7),
        nn.SimpleCell(7, residual=True),
        nn.MGUCell(7),
        nn.MGUCell(7, reset_gate=False),
        nn.GRUCell(7, carry_init=nn.initializers.ones),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_parity_with_the_cells_of_flax(cell: nn.RNNCellBase) -> None:
    params, inputs, done, start, outputs = run(RNN(cell), num_steps=20)
    carry = start
    apply = jax.jit(cell.apply)
    for t in range(inputs.shape[1]):
        reset = done[:, t, None]
        carry = jax.tree.map(lambda first, x, reset=reset: jnp.where(reset, first, x), start, carry)
        carry, expected = apply({"params": params["cell"]}, carry, inputs[:, t])
        check_close(outputs[:, t], expected)


def test_a_subclass_of_a_known_cell_computes_what_it_says() -> None:
    class Doubled(nn.GRUCell):
        @nn.compact
        def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            carry, outputs = super().__call__(carry, inputs)
            return carry, 2 * outputs

    *_, doubled = run(RNN(Doubled(7)), num_steps=5)
    *_, plain = run(RNN(nn.GRUCell(7)), num_steps=5)
    check_close(doubled, 2 * plain)


def test_initialization() -> None:
    inputs, done = jnp.zeros((1, 1, 64)), jnp.zeros((1, 1), bool)

    def initialize(cell: nn.Module) -> dict[str, jax.Array]:
        model = Memoroid(cell)
        carry = model.initialize_carry(jax.random.key(0), (1, 64))
        return jax.jit(model.init)(jax.random.key(0), inputs, done, carry)["params"]["cell"]

    lru = initialize(LRUCell(256, r_min=0.4, r_max=0.9, max_phase=0.5))
    radius, phase = np.exp(-np.exp(lru["nu_log"])), np.exp(lru["theta_log"])
    assert 0.4 <= radius.min() < 0.45 < 0.85 < radius.max() <= 0.9
    assert 0 <= phase.min() < 0.05 < 0.45 < phase.max() <= 0.5
    np.testing.assert_allclose(np.exp(lru["gamma_log"]), np.sqrt(1 - radius**2), rtol=1e-3)

    mamba = initialize(MambaCell(64, head_dim=1))
    dt, a = references.softplus(references.float64(mamba["dt_bias"])), np.exp(mamba["A_log"])
    assert 1e-3 * 0.99 <= dt.min() < 2e-3 < 5e-2 < dt.max() <= 1e-1 * 1.01
    assert 1 <= a.min() < 2 < 15 < a.max() <= 16.001
