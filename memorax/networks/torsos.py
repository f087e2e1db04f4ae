"""The torsos that the command line and the benchmarks know by name."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn

from memorax.networks.architectures import gpt2, griffin, gtrxl, mamba, transformer_xl, xlstm
from memorax.networks.blocks import GLU, Gated, PreNorm, Projection, Residual, Stack
from memorax.networks.encoders import MLP
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
    LinearAttentionCell,
    LMUCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MemoroidCell,
    MinGRUCell,
    MinLSTMCell,
    RetNetCell,
    RGLRUCell,
    RTUCell,
    RWKV7Cell,
    S4DCell,
    S5Cell,
    SelfAttention,
    SequenceModelWrapper,
    SHMCell,
    mLSTMCell,
    sLSTMCell,
)

TORSOS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": lambda features: SequenceModelWrapper(MLP(features)),
    "rnn": lambda features: RNN(nn.SimpleCell(features)),
    "gru": lambda features: RNN(nn.GRUCell(features)),
    "lstm": lambda features: RNN(nn.OptimizedLSTMCell(features)),
    "slstm": lambda features: Memoroid(sLSTMCell(features)),
    "shm": lambda features: Memoroid(SHMCell(features)),
    "rtu": lambda features: _block(features, Memoroid(RTUCell(features))),
    "indrnn": lambda features: Stack((Memoroid(IndRNNCell(features)), Memoroid(IndRNNCell(features)))),
    "lmu": lambda features: Memoroid(LMUCell(features)),
    "lru": lambda features: _block(features, Memoroid(LRUCell(features))),
    "s5": lambda features: _block(features, Memoroid(S5Cell(features))),
    "s4d": lambda features: _block(features, Memoroid(S4DCell(features))),
    "mingru": lambda features: _convolved(features, MinGRUCell(features)),
    "minlstm": lambda features: _convolved(features, MinLSTMCell(features)),
    "rglru": lambda features: Stack((Gated(_convolved(features, RGLRUCell(features))), Projection(features))),
    "ffm": lambda features: _block(features, Memoroid(FFMCell(features))),
    "mamba": lambda features: Memoroid(MambaCell(features, expand=1, head_dim=features // 2)),
    "mlstm": lambda features: Memoroid(mLSTMCell(features, num_heads=2, proj_factor=1)),
    "linear_attention": lambda features: _convolved(features, LinearAttentionCell(features, num_heads=2)),
    "retnet": lambda features: _convolved(features, RetNetCell(features, num_heads=2, value_factor=1)),
    "gla": lambda features: _convolved(features, GLACell(features, num_heads=1)),
    "deltanet": lambda features: Memoroid(DeltaNetCell(features, num_heads=2)),
    "gated_deltanet": lambda features: Memoroid(GatedDeltaNetCell(features, num_heads=2)),
    "fwp": lambda features: _convolved(features, FWPCell(features, num_heads=2, nu=1)),
    "rwkv7": lambda features: Memoroid(RWKV7Cell(features, num_heads=2)),
    "attention": lambda features: SelfAttention(features, num_heads=2, context_length=64),
    "gtrxl": lambda features: gtrxl(features),
    "transformer_xl": lambda features: transformer_xl(features),
    "gpt2": lambda features: gpt2(features),
    "xlstm": lambda features: xlstm(features, num_heads=2),
    "griffin": lambda features: griffin(features),
    "mamba_stack": lambda features: mamba(features),
    "frame_stack": lambda features: Stack((FrameStack(8), MLP(features))),
}
"""A torso for a number of features, by name; "mlp" has no memory.

A cell stands in as little of its paper's block as remembers (see `benchmarks/learning.py`).
"""

DESCRIPTIONS: dict[str, str] = {
    "mlp": "no memory: one dense layer",
    "rnn": "Elman's recurrent network",
    "gru": "gated recurrent unit",
    "lstm": "long short-term memory",
    "slstm": "xLSTM's LSTM with exponential gates and a scalar memory",
    "shm": "stable Hadamard memory: a matrix that is decayed and written element by element",
    "rtu": "recurrent trace units: rotations with learned decay, in a gated block",
    "indrnn": "independently recurrent network: each unit sees only itself, two layers",
    "lmu": "Legendre memory unit: polynomials that approximate a window of the past",
    "lru": "linear recurrent unit: complex decays, in a gated block",
    "s5": "S5: a diagonal state space, all channels mixed, in a gated block",
    "s4d": "S4D: a diagonal state space for each channel, in a gated block",
    "mingru": "minGRU: a GRU whose gates see only the input, after a convolution",
    "minlstm": "minLSTM: an LSTM whose gates see only the input, after a convolution",
    "rglru": "Griffin's real-gated linear recurrent unit, after a convolution",
    "ffm": "fast and forgetful memory: sums of the past that decay and rotate, in a gated block",
    "mamba": "Mamba-2: a selective state space with a convolution",
    "mlstm": "xLSTM's LSTM with a matrix memory",
    "linear_attention": "linear attention: keys and values summed into a matrix, after a convolution",
    "retnet": "RetNet: linear attention with a fixed decay for each head, after a convolution",
    "gla": "gated linear attention: a learned decay for each key channel, after a convolution",
    "deltanet": "DeltaNet: a matrix memory whose entries are overwritten",
    "gated_deltanet": "gated DeltaNet: a matrix memory whose entries are overwritten and decay",
    "fwp": "fast weight programmer: linear attention with a richer feature map, after a convolution",
    "rwkv7": "RWKV-7: a matrix memory with a generalised delta rule",
    "attention": "self-attention over the last 64 steps of the episode",
    "gtrxl": "gated Transformer-XL, two layers",
    "transformer_xl": "Transformer-XL, two layers",
    "gpt2": "GPT-2, two layers",
    "xlstm": "xLSTM, two blocks: mLSTM and sLSTM",
    "griffin": "Griffin, three blocks: two of RG-LRU, one of local attention",
    "mamba_stack": "Mamba-2, two layers",
    "frame_stack": "the last 8 inputs side by side and a dense layer",
}
"""What each torso is, in a line."""


def _block(features: int, memory: nn.Module) -> Stack:
    """A memory and a gate after it, normalised before and added to their inputs (Orvieto et al., 2023, Section 2.1).

    A layer in front makes features of all that is seen at a step, which a linear recurrence would add up unseen.
    """
    return Stack((MLP(features), Residual(PreNorm(Stack((memory, GLU(features)))))))


def _convolved(features: int, cell: MemoroidCell) -> Stack:
    """A memory after a convolution of four steps, as in Mamba's block (Gu & Dao, 2023, Figure 3).

    Gates and keys that do not see the state then see the last inputs.
    """
    return Stack((MLP(features), CausalConvolution(4), Memoroid(cell)))
