"""Networks: feature extractor -> torso (sequence model) -> head."""

from memorax.networks import heads
from memorax.networks.blocks import (
    FFN,
    GLU,
    GatedResidual,
    MoE,
    PostNorm,
    PreNorm,
    Projection,
    Residual,
    Stack,
)
from memorax.networks.encoders import CNN, MLP, OneHot, SpaceEncoder, observation_encoder
from memorax.networks.feature_extractor import FeatureExtractor
from memorax.networks.network import Network, unroll, unroll_step
from memorax.networks.positional_embeddings import RoPE
from memorax.networks.sequence_models import (
    RNN,
    DeltaNetCell,
    FrameStack,
    FWPCell,
    GatedDeltaNetCell,
    GLACell,
    LinearAttentionCell,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    RetNetCell,
    RL2Wrapper,
    RWKV7Cell,
    SelfAttention,
    SequenceModelWrapper,
    mLSTMCell,
)
from memorax.networks.torsos import TORSOS

__all__ = [
    "CNN",
    "FFN",
    "GLU",
    "MLP",
    "RNN",
    "TORSOS",
    "DeltaNetCell",
    "FWPCell",
    "FeatureExtractor",
    "FrameStack",
    "GLACell",
    "GatedDeltaNetCell",
    "GatedResidual",
    "LRUCell",
    "LinearAttentionCell",
    "MambaCell",
    "Memoroid",
    "MinGRUCell",
    "MoE",
    "Network",
    "OneHot",
    "PostNorm",
    "PreNorm",
    "Projection",
    "RL2Wrapper",
    "RWKV7Cell",
    "Residual",
    "RetNetCell",
    "RoPE",
    "SelfAttention",
    "SequenceModelWrapper",
    "SpaceEncoder",
    "Stack",
    "heads",
    "mLSTMCell",
    "observation_encoder",
    "unroll",
    "unroll_step",
]
