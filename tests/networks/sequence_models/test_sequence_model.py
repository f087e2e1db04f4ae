"""What a user who gets something wrong is told."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import sequence_models
from memorax.networks.blocks import FFN, GLU
from memorax.networks.positional_embeddings import RoPE, sinusoids
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
    MemoroidCell,
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
from memorax.testing import check_close

MODELS = {
    "rnn": RNN(nn.GRUCell(4)),
    "memoroid": Memoroid(LRUCell(4)),
    "attention": SelfAttention(4, num_heads=2),
}


def _is_cell(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, MemoroidCell) and member is not MemoroidCell


@pytest.mark.parametrize("name", MODELS)
def test_a_carry_of_another_batch_size(name: str) -> None:
    model = MODELS[name]
    inputs, done = jnp.zeros((3, 2, 4)), jnp.zeros((3, 2), bool)
    with pytest.raises(ValueError, match=r"carry has a leaf of shape \(5, .*batch size of 3"):
        model.init(jax.random.key(0), inputs, done, model.initialize_carry(jax.random.key(0), (5, 4)))


@pytest.mark.parametrize("model", [*MODELS.values(), SequenceModelWrapper(nn.Dense(4))])
def test_inputs_without_time_and_a_done_of_another_length(model: SequenceModel) -> None:
    carry = model.initialize_carry(jax.random.key(0), (3, 4))
    with pytest.raises(ValueError, match=r"inputs have shape \(3, 4\), expected \[B, T, F\]"):
        model.init(jax.random.key(0), jnp.zeros((3, 4)), jnp.zeros((3,), bool), carry)
    with pytest.raises(ValueError, match=r"inputs have shape \(3, 0, 4\).* T at least 1"):
        model.init(jax.random.key(0), jnp.zeros((3, 0, 4)), jnp.zeros((3, 0), bool), carry)
    with pytest.raises(ValueError, match=r"done has shape \(3, 1\), expected \(3, 2\)"):
        model.init(jax.random.key(0), jnp.zeros((3, 2, 4)), jnp.zeros((3, 1), bool), carry)


@pytest.mark.parametrize(
    "part",
    [*(cell for cell in vars(sequence_models).values() if _is_cell(cell)), FFN, GLU],
    ids=lambda part: part.__name__,
)
def test_no_features_at_all(part: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"features \(0\) must be"):
        part(features=0)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"num_heads \(3\) must divide features \(8\)"):
        SelfAttention(features=8, num_heads=3)
    with pytest.raises(ValueError, match=r"context_length \(0\) must be at least 1"):
        SelfAttention(features=8, context_length=0)
    with pytest.raises(ValueError, match=r"num_kv_heads \(3\) must divide num_heads \(4\)"):
        SelfAttention(features=8, num_kv_heads=3)
    with pytest.raises(ValueError, match=r"features / num_heads \(12 / 4\) must be even: RoPE rotates pairs"):
        SelfAttention(features=12)
    with pytest.raises(ValueError, match=r"SegmentRecurrence num_heads \(3\) must divide features \(8\)"):
        SegmentRecurrence(features=8, num_heads=3)
    with pytest.raises(ValueError, match=r"memory_length \(0\) must be at least 1"):
        SegmentRecurrence(features=8, memory_length=0)
    with pytest.raises(ValueError, match=r"number of features \(9\) must be even"):
        sinusoids(4, 9)
    with pytest.raises(ValueError, match=r"num_positions \(0\) must be at least 1"):
        LearnedPositionalEmbedding(0)
    with pytest.raises(ValueError, match=r"head_dim \(5\) must divide expand \* features \(16\)"):
        MambaCell(features=8, head_dim=5)
    with pytest.raises(ValueError, match=r"d_conv \(0\) must be greater than 0"):
        MambaCell(features=8, d_conv=0)
    with pytest.raises(ValueError, match=r"mLSTMCell num_heads \(3\) must divide proj_factor \* features \(16\)"):
        mLSTMCell(features=8, num_heads=3)
    with pytest.raises(ValueError, match=r"qkv_proj_blocksize \(4\) must divide proj_factor \* features \(6\)"):
        mLSTMCell(features=3, num_heads=1)
    for cell in (LinearAttentionCell, FWPCell, RetNetCell, GLACell, DeltaNetCell, GatedDeltaNetCell, RWKV7Cell):
        with pytest.raises(ValueError, match=rf"{cell.__name__} num_heads \(3\) must divide features \(8\)"):
            cell(features=8, num_heads=3)
    for cell in (LinearAttentionCell, FWPCell, RetNetCell):
        with pytest.raises(ValueError, match=rf"{cell.__name__} features / num_heads \(12 / 4\) must be even: RoPE"):
            cell(features=12)
    with pytest.raises(ValueError, match=r"SegmentRecurrence features \(9\) must be even: sines and cosines"):
        SegmentRecurrence(features=9, num_heads=3)
    with pytest.raises(ValueError, match=r"RWKV7Cell chunk_length \(106\) must be at most 105"):
        RWKV7Cell(features=8, chunk_length=106)
    with pytest.raises(ValueError, match=r"GLACell chunk_length \(17\) must be at most 16"):
        GLACell(features=8, chunk_length=17)
    with pytest.raises(ValueError, match=r"GLACell num_heads \(4\) must divide key_features \(6\)"):
        GLACell(features=8, key_features=6)
    with pytest.raises(ValueError, match=r"nu \(0\) must be greater than 0"):
        FWPCell(features=8, nu=0)
    with pytest.raises(ValueError, match=r"r_min \(0.9\) and r_max \(0.5\)"):
        LRUCell(features=8, r_min=0.9, r_max=0.5)
    odd = jnp.zeros((1, 1, 1, 3))
    with pytest.raises(ValueError, match=r"head dimension \(3\) must be even"):
        RoPE().apply({}, odd, odd, jnp.zeros((1, 1), jnp.int32))


@pytest.mark.parametrize(
    "cell, fields, message",
    [
        (sLSTMCell, {"features": 8, "num_heads": 3}, r"num_heads \(3\) must divide features \(8\)"),
        (sLSTMCell, {"features": 8, "conv_kernel": 0}, r"conv_kernel \(0\) must be at least 1"),
        (SHMCell, {"features": 8, "num_thetas": 0}, r"num_thetas \(0\) must be at least 1"),
        (RTUCell, {"features": 7}, r"features \(7\) must be even"),
        (RTUCell, {"features": 8, "r_max": 1.5}, r"r_min \(0.0\) and r_max \(1.5\)"),
        (IndRNNCell, {"features": 8, "recurrent_max": 0}, r"recurrent_max \(0\) must be greater than 0"),
        (LMUCell, {"features": 8, "order": 0}, r"order \(0\) must be at least 1"),
        (S5Cell, {"features": 7}, r"state_dim \(7, by default features\) must be a multiple of 2 \* blocks \(1\)"),
        (S5Cell, {"features": 8, "dt_min": 1.0}, r"dt_min \(1.0\) and dt_max \(0.1\)"),
        (S4DCell, {"features": 8, "d_state": 3}, r"d_state \(3\) must be even"),
        (S4DCell, {"features": 8, "initialization": "legs"}, r"initialization \('legs'\) must be one of lin, inv"),
        (RGLRUCell, {"features": 6}, r"num_blocks \(4\) must divide features \(6\)"),
        (RGLRUCell, {"features": 8, "a_max": 1.0}, r"a_min \(0.9\) and a_max \(1.0\)"),
        (FFMCell, {"features": 8, "memory_size": 0}, r"memory_size \(0\) must be at least 1"),
        (FFMCell, {"features": 8, "beta": 1.0}, r"beta \(1.0\) must lie between 0 and 1"),
    ],
)
def test_what_a_cell_cannot_be(cell: type, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"{cell.__name__} {message}"):
        cell(**fields)


def test_inputs_a_bare_recurrence_cannot_take() -> None:
    model = Memoroid(RGLRUCell(8))
    carry = model.initialize_carry(jax.random.key(0), (1, 5))
    with pytest.raises(ValueError, match=r"RGLRUCell features \(8\) must be the size of its inputs \(5\)"):
        model.init(jax.random.key(0), jnp.zeros((1, 1, 5)), jnp.zeros((1, 1), bool), carry)


def test_a_cell_of_the_other_kind() -> None:
    with pytest.raises(ValueError, match=r"RNN cell \(LRUCell\) must be a Flax RNN cell .* Memoroid takes"):
        RNN(LRUCell(4))
    with pytest.raises(ValueError, match=r"Memoroid cell \(GRUCell\) must be a MemoroidCell; RNN takes"):
        Memoroid(nn.GRUCell(4))


class _ForgetsItsPrecision(MemoroidCell):
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry.astype(jnp.bfloat16), inputs

    @nn.nowrap
    def initialize_carry(self, key: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros(input_shape)


def test_a_cell_that_changes_its_carry() -> None:
    model = Memoroid(_ForgetsItsPrecision())
    with pytest.raises(
        ValueError, match=r"_ForgetsItsPrecision was given the carry float32\[1, 2\] and returned bfloat16"
    ):
        model.init(jax.random.key(0), jnp.zeros((1, 1, 2)), jnp.zeros((1, 1), bool), jnp.zeros((1, 2)))


def test_gates_that_forget_all_at_once_stay_in_range() -> None:
    model = Memoroid(GLACell(8, num_heads=2, gate_logit_normalizer=1.0))
    inputs, done, carry = (
        np.asarray(jax.random.normal(jax.random.key(0), (2, 40, 8))),
        np.zeros((2, 40), bool),
        np.zeros((2, 2, 4, 2), np.float32),
    )
    params = jax.jit(model.init)(jax.random.key(1), inputs, done, carry)
    params["params"]["cell"]["alpha"]["bias"] = jnp.array([-1e4, 1e4, -1e4, 0.0])
    run = jax.jit(model.apply)
    _, expected = run(params, inputs, done, carry)
    for step in range(40):
        carry, outputs = run(params, inputs[:, step : step + 1], done[:, step : step + 1], carry)
        check_close(outputs[:, 0], expected[:, step])
