"""Published architectures, each in a line: `gtrxl(features=64, depth=4)` is a torso.

Each projects its inputs to `features` and repeats its blocks `depth` times, compiled once. They are compositions of
`memorax.networks.blocks` and of `memorax.networks.sequence_models`: to change one, write it out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from memorax.networks.blocks import FFN, GLU, Gated, GatedResidual, PostNorm, PreNorm, Projection, Residual, Stack
from memorax.networks.sequence_models import (
    CausalConvolution,
    LearnedPositionalEmbedding,
    MambaCell,
    Memoroid,
    RGLRUCell,
    S5Cell,
    SegmentRecurrence,
    SelfAttention,
    mLSTMCell,
    sLSTMCell,
)
from memorax.validation import require_several


def gtrxl(features: int, depth: int = 2, num_heads: int = 4, memory_length: int = 64, dtype: Any = None) -> Stack:
    """Gated Transformer-XL (Parisotto et al., 2019, "Stabilizing Transformers for RL", Sections 3.1 and 3.2).

    Args:
        features: width of the torso.
        depth: number of layers, each an attention and a feedforward block.
        num_heads: heads of the attention.
        memory_length: number of last inputs that a layer attends to.
        dtype: dtype of the computation.
    """
    attention = SegmentRecurrence(features, num_heads, memory_length, dtype=dtype)
    feedforward = FFN(features, activation=nn.relu, dtype=dtype)
    layers = [
        GatedResidual(PreNorm(block, nn.LayerNorm(dtype=dtype)), dtype=dtype) for block in (attention, feedforward)
    ]
    return Stack((Projection(features, dtype=dtype), Stack(layers, depth)))


def transformer_xl(
    features: int, depth: int = 2, num_heads: int = 4, memory_length: int = 64, dtype: Any = None
) -> Stack:
    """Transformer-XL (Dai et al., 2019, Section 3).

    Args:
        features: width of the torso.
        depth: number of layers, each an attention and a feedforward block.
        num_heads: heads of the attention.
        memory_length: number of last inputs that a layer attends to.
        dtype: dtype of the computation.
    """
    attention = SegmentRecurrence(features, num_heads, memory_length, dtype=dtype)
    feedforward = FFN(features, activation=nn.relu, dtype=dtype)
    layers = [PostNorm(Residual(block), nn.LayerNorm(dtype=dtype)) for block in (attention, feedforward)]
    return Stack((Projection(features, dtype=dtype), Stack(layers, depth)))


def gpt2(
    features: int,
    depth: int = 2,
    num_heads: int = 4,
    context_length: int = 64,
    num_positions: int = 1024,
    dtype: Any = None,
) -> Stack:
    """GPT-2 (Radford et al., 2019, "Language Models are Unsupervised Multitask Learners", Section 2.3).

    Args:
        features: width of the torso.
        depth: number of layers, each an attention and a feedforward block.
        num_heads: heads of the attention.
        context_length: number of last inputs that a layer attends to.
        num_positions: positions in an episode that are told apart.
        dtype: dtype of the computation.
    """
    norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=dtype)
    attention = SelfAttention(
        features, num_heads, context_length, positional_embedding=None, use_bias=True, dtype=dtype
    )
    layers = [Residual(PreNorm(block, norm())) for block in (attention, FFN(features, dtype=dtype))]
    positions = LearnedPositionalEmbedding(num_positions, dtype=dtype)
    return Stack((Projection(features, dtype=dtype), positions, Stack(layers, depth), norm()))


def xlstm(
    features: int, depth: int = 2, num_heads: int = 4, ratio: tuple[int, int] = (1, 1), dtype: Any = None
) -> Stack:
    """XLSTM (Beck et al., 2024, "xLSTM: Extended Long Short-Term Memory", Section 2.4 and Figures 10 and 11).

    Args:
        features: width of the torso.
        depth: number of blocks.
        num_heads: heads of the memories.
        ratio: numbers `(a, b)` of the paper's xLSTM[a:b]: `a` mLSTM blocks, then `b` sLSTM blocks, repeated.
        dtype: dtype of the computation.

    Raises:
        ValueError: if the ratio is not of two numbers from 0, or of two zeros.
    """
    if min(ratio) < 0 or sum(ratio) < 1:
        raise ValueError(f"xlstm ratio {ratio} must name at least one block")
    norm = partial(nn.LayerNorm, use_bias=False, dtype=dtype)

    def mlstm_block() -> nn.Module:
        return Residual(PreNorm(Memoroid(mLSTMCell(features, num_heads, dtype=dtype)), norm()))

    def slstm_block() -> nn.Module:
        feedforward = _gated_ffn(features, round(features * 4 / 3), dtype)
        memory = Memoroid(sLSTMCell(features, num_heads, dtype=dtype))
        return Stack((Residual(PreNorm(memory, norm())), Residual(PreNorm(feedforward, norm()))))

    blocks = _repeat([mlstm_block] * ratio[0] + [slstm_block] * ratio[1], depth)
    return Stack((Projection(features, dtype=dtype), *blocks, norm()))


def mamba(features: int, depth: int = 2, dtype: Any = None, **sizes: Any) -> Stack:
    """Mamba-2 (Dao & Gu, 2024, "Transformers are SSMs", Section 7).

    Args:
        features: width of the torso.
        depth: number of blocks.
        dtype: dtype of the computation.
        **sizes: arguments of `MambaCell`.
    """
    require_several("mamba", f"features ({features})", features)
    block = Residual(PreNorm(Memoroid(MambaCell(features, dtype=dtype, **sizes)), nn.RMSNorm(dtype=dtype)))
    return Stack((Projection(features, dtype=dtype), Stack((block,), depth), nn.RMSNorm(dtype=dtype)))


def griffin(features: int, depth: int = 3, num_heads: int = 4, context_length: int = 64, dtype: Any = None) -> Stack:
    """Griffin (De et al., 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention", Section 2).

    Two recurrent blocks are followed by one of local attention, again and again, each with its gated feedforward
    block.

    Args:
        features: width, of the recurrence too.
        depth: number of blocks.
        num_heads: heads of the attention, which share one head of keys and values, and blocks of the gates.
        context_length: number of last inputs that attention sees.
        dtype: dtype of the computation.
    """
    require_several("griffin", f"features ({features})", features)
    norm = partial(nn.RMSNorm, dtype=dtype)

    def block(mixing: nn.Module) -> nn.Module:
        feedforward = _gated_ffn(features, 3 * features, dtype)
        return Stack((Residual(PreNorm(mixing, norm())), Residual(PreNorm(feedforward, norm()))))

    def recurrent_block() -> nn.Module:
        recurrence = Memoroid(RGLRUCell(features, num_heads, dtype=dtype))
        branch = Stack((Projection(features, dtype=dtype), CausalConvolution(4), recurrence))
        return block(Stack((Gated(branch, dtype=dtype), Projection(features, dtype=dtype))))

    def attention_block() -> nn.Module:
        return block(SelfAttention(features, num_heads, context_length, num_kv_heads=1, dtype=dtype))

    blocks = _repeat([recurrent_block, recurrent_block, attention_block], depth)
    return Stack((Projection(features, dtype=dtype), *blocks, norm()))


def s5(features: int, depth: int = 2, dtype: Any = None, **sizes: Any) -> Stack:
    """S5 (Smith et al., 2023, "Simplified State Space Layers for Sequence Modeling", Section 3 and Appendix B).

    Each layer is the state space, a GELU and a sigmoid gate, normalised before and added to its inputs.

    Args:
        features: width of the torso.
        depth: number of layers.
        dtype: dtype of the computation.
        **sizes: arguments of `S5Cell`.
    """
    nonlinearity = nn.Sequential((nn.gelu, GLU(features, project_values=False, dtype=dtype)))
    layer = Stack((Memoroid(S5Cell(features, dtype=dtype, **sizes)), nonlinearity))
    block = Residual(PreNorm(layer, nn.LayerNorm(dtype=dtype)))
    return Stack((Projection(features, dtype=dtype), Stack((block,), depth)))


def _gated_ffn(features: int, hidden_features: int, dtype: Any) -> nn.Module:
    """FFN_GEGLU (Shazeer, 2020, Eq. 6)."""
    return nn.Sequential((GLU(hidden_features, nn.gelu, dtype=dtype), Projection(features, dtype=dtype)))


def _repeat(pattern: list[Callable[[], nn.Module]], depth: int) -> list[nn.Module]:
    """`depth` blocks of a pattern that repeats: whole patterns, compiled once, and what is left over."""
    whole, left_over = divmod(depth, len(pattern))
    if depth < 1:
        raise ValueError(f"depth ({depth}) must be at least 1")
    repeated = [Stack([make() for make in pattern], whole)] if whole else []
    return repeated + [make() for make in pattern[:left_over]]
