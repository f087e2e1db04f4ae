"""The torsos the command line and the benchmarks know by name: one line each."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn

from memorax.networks.encoders import MLP
from memorax.networks.sequence_models import (
    RNN,
    DeltaNetCell,
    FWPCell,
    GatedDeltaNetCell,
    GLACell,
    LinearAttentionCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    RetNetCell,
    RWKV7Cell,
    SelfAttention,
    SequenceModelWrapper,
    mLSTMCell,
)

TORSOS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": lambda features: SequenceModelWrapper(MLP(features)),
    "rnn": lambda features: RNN(nn.SimpleCell(features)),
    "gru": lambda features: RNN(nn.GRUCell(features)),
    "lstm": lambda features: RNN(nn.OptimizedLSTMCell(features)),
    "lru": lambda features: Memoroid(LRUCell(features)),
    "mingru": lambda features: Memoroid(MinGRUCell(features)),
    "mamba": lambda features: Memoroid(MambaCell(features)),
    "mlstm": lambda features: Memoroid(mLSTMCell(features)),
    "linear_attention": lambda features: Memoroid(LinearAttentionCell(features)),
    "retnet": lambda features: Memoroid(RetNetCell(features)),
    "gla": lambda features: Memoroid(GLACell(features)),
    "deltanet": lambda features: Memoroid(DeltaNetCell(features)),
    "gated_deltanet": lambda features: Memoroid(GatedDeltaNetCell(features)),
    "fwp": lambda features: Memoroid(FWPCell(features)),
    "rwkv7": lambda features: Memoroid(RWKV7Cell(features)),
    "attention": lambda features: SelfAttention(features, num_heads=4, context_length=64),
}
"""A torso for a number of features, by name; "mlp" has no memory."""
