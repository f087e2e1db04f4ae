"""The torsos that the command line and the benchmarks know by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn

from memorax.networks.architectures import gpt2, griffin, gtrxl, mamba, transformer_xl, xlstm
from memorax.networks.blocks import GLU, Gated, PreNorm, Projection, Residual, Stack
from memorax.networks.encoders import MLP
from memorax.networks.initializers import sparse
from memorax.networks.sequence_models import (
    RNN,
    RTRL,
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


def _mlp(features: int, depth: int = 1, layer_norm: bool = False, sparsity: float = 0.0) -> nn.Module:
    widths = (features,) * _at_least_one(depth)
    if not sparsity:
        return SequenceModelWrapper(MLP(widths, layer_norm=layer_norm))
    return SequenceModelWrapper(MLP(widths, kernel_init=sparse(sparsity), layer_norm=layer_norm))


def _rnn(features: int, depth: int = 1) -> nn.Module:
    return _layers(depth, lambda: RNN(nn.SimpleCell(features)))


def _gru(features: int, depth: int = 1) -> nn.Module:
    return _layers(depth, lambda: RNN(nn.GRUCell(features)))


def _lstm(features: int, depth: int = 1) -> nn.Module:
    return _layers(depth, lambda: RNN(nn.OptimizedLSTMCell(features)))


def _slstm(features: int, num_heads: int = 4) -> nn.Module:
    return Memoroid(sLSTMCell(features, num_heads=num_heads))


def _shm(features: int, memory_size: int = 32, num_thetas: int = 128) -> nn.Module:
    return Memoroid(SHMCell(features, memory_size=memory_size, num_thetas=num_thetas))


def _rtu(
    features: int,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    linear: bool = False,
    rtrl: bool = False,
) -> nn.Module:
    memory = Memoroid(RTUCell(features, linear=linear, r_min=r_min, r_max=r_max, max_phase=max_phase))
    return _block(features, RTRL(memory) if rtrl else memory)


def _indrnn(features: int, depth: int = 2, recurrent_max: float = 1.0, rtrl: bool = False) -> nn.Module:
    def layer() -> nn.Module:
        memory = Memoroid(IndRNNCell(features, recurrent_max=recurrent_max))
        return RTRL(memory) if rtrl else memory

    return _layers(depth, layer)


def _lmu(features: int, order: int = 16, theta: float = 32.0, memory_d: int = 1) -> nn.Module:
    return Memoroid(LMUCell(features, order=order, theta=theta, memory_d=memory_d))


def _lru(
    features: int,
    state_dim: int | None = None,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 2 * math.pi,
    rtrl: bool = False,
) -> nn.Module:
    memory = Memoroid(LRUCell(features, state_dim=state_dim, r_min=r_min, r_max=r_max, max_phase=max_phase))
    return _block(features, RTRL(memory) if rtrl else memory)


def _s5(
    features: int,
    state_dim: int | None = None,
    blocks: int = 1,
    dt_min: float = 1e-3,
    dt_max: float = 1e-1,
    rtrl: bool = False,
) -> nn.Module:
    memory = Memoroid(S5Cell(features, state_dim=state_dim, blocks=blocks, dt_min=dt_min, dt_max=dt_max))
    return _block(features, RTRL(memory) if rtrl else memory)


def _s4d(
    features: int, d_state: int = 16, initialization: str = "lin", dt_min: float = 1e-3, dt_max: float = 1e-1
) -> nn.Module:
    cell = S4DCell(features, d_state=d_state, initialization=initialization, dt_min=dt_min, dt_max=dt_max)
    return _block(features, Memoroid(cell))


def _mingru(features: int, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, MinGRUCell(features), kernel_size)


def _minlstm(features: int, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, MinLSTMCell(features), kernel_size)


def _rglru(features: int, num_blocks: int = 4, kernel_size: int = 4) -> nn.Module:
    branch = _convolved(features, RGLRUCell(features, num_blocks=num_blocks), kernel_size)
    return Stack((Gated(branch), Projection(features)))


def _ffm(features: int, memory_size: int = 32, context_size: int = 4, horizon: int = 1024) -> nn.Module:
    cell = FFMCell(features, memory_size=memory_size, context_size=context_size, horizon=horizon)
    return _block(features, Memoroid(cell))


def _mamba(
    features: int, d_state: int = 16, d_conv: int = 4, expand: int = 1, head_dim: int | None = None
) -> nn.Module:
    head_dim = features // 2 if head_dim is None else head_dim
    return Memoroid(MambaCell(features, d_state=d_state, d_conv=d_conv, expand=expand, head_dim=head_dim))


def _mlstm(features: int, num_heads: int = 2, proj_factor: int = 1) -> nn.Module:
    return Memoroid(mLSTMCell(features, num_heads=num_heads, proj_factor=proj_factor))


def _linear_attention(features: int, num_heads: int = 2, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, LinearAttentionCell(features, num_heads=num_heads), kernel_size)


def _retnet(features: int, num_heads: int = 2, value_factor: int = 1, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, RetNetCell(features, num_heads=num_heads, value_factor=value_factor), kernel_size)


def _gla(features: int, num_heads: int = 1, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, GLACell(features, num_heads=num_heads), kernel_size)


def _deltanet(features: int, num_heads: int = 2, d_conv: int = 4) -> nn.Module:
    return Memoroid(DeltaNetCell(features, num_heads=num_heads, d_conv=d_conv))


def _gated_deltanet(features: int, num_heads: int = 2, d_conv: int = 4) -> nn.Module:
    return Memoroid(GatedDeltaNetCell(features, num_heads=num_heads, d_conv=d_conv))


def _fwp(features: int, num_heads: int = 2, nu: int = 1, kernel_size: int = 4) -> nn.Module:
    return _convolved(features, FWPCell(features, num_heads=num_heads, nu=nu), kernel_size)


def _rwkv7(features: int, num_heads: int = 2, low_rank_dim: int = 16) -> nn.Module:
    return Memoroid(RWKV7Cell(features, num_heads=num_heads, low_rank_dim=low_rank_dim))


def _attention(
    features: int, num_heads: int = 2, context_length: int = 64, num_kv_heads: int | None = None
) -> nn.Module:
    return SelfAttention(features, num_heads=num_heads, context_length=context_length, num_kv_heads=num_kv_heads)


def _xlstm(features: int, depth: int = 2, num_heads: int = 2, ratio: tuple[int, int] = (1, 1)) -> nn.Module:
    return xlstm(features, depth=depth, num_heads=num_heads, ratio=ratio)


def _frame_stack(features: int, num_frames: int = 8, depth: int = 1) -> nn.Module:
    return Stack((FrameStack(num_frames), MLP((features,) * _at_least_one(depth))))


def _layers(depth: int, make: Callable[[], nn.Module]) -> nn.Module:
    """Layers one after another; a single one stays itself."""
    layers = tuple(make() for _ in range(_at_least_one(depth)))
    return layers[0] if depth == 1 else Stack(layers)


def _at_least_one(depth: int) -> int:
    if depth < 1:
        raise ValueError(f"torso option depth ({depth}) must be at least 1")
    return depth


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


def _convolved(features: int, cell: MemoroidCell, kernel_size: int) -> Stack:
    """A memory after a convolution of a few steps, as in Mamba's block (Gu & Dao, 2023, Figure 3).

    Gates and keys that do not see the state then see the last inputs.
    """
    return Stack((MLP(features), CausalConvolution(kernel_size), Memoroid(cell)))


TORSOS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "rnn": _rnn,
    "gru": _gru,
    "lstm": _lstm,
    "slstm": _slstm,
    "shm": _shm,
    "rtu": _rtu,
    "indrnn": _indrnn,
    "lmu": _lmu,
    "lru": _lru,
    "s5": _s5,
    "s4d": _s4d,
    "mingru": _mingru,
    "minlstm": _minlstm,
    "rglru": _rglru,
    "ffm": _ffm,
    "mamba": _mamba,
    "mlstm": _mlstm,
    "linear_attention": _linear_attention,
    "retnet": _retnet,
    "gla": _gla,
    "deltanet": _deltanet,
    "gated_deltanet": _gated_deltanet,
    "fwp": _fwp,
    "rwkv7": _rwkv7,
    "attention": _attention,
    "gtrxl": gtrxl,
    "transformer_xl": transformer_xl,
    "gpt2": gpt2,
    "xlstm": _xlstm,
    "griffin": griffin,
    "mamba_stack": mamba,
    "frame_stack": _frame_stack,
}
"""By name, a function that makes a torso for a number of features; its keyword parameters are the torso's options.

"mlp" has no memory. A cell stands in as little of its paper's block as remembers (see `benchmarks/learning.py`).
"""
