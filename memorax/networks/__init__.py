"""Networks: feature extractor -> torso (sequence model) -> head."""

from memorax.networks import heads
from memorax.networks.encoders import CNN, MLP, OneHot, SpaceEncoder, observation_encoder
from memorax.networks.feature_extractor import FeatureExtractor
from memorax.networks.network import Network, unroll, unroll_step
from memorax.networks.positional_embeddings import RoPE
from memorax.networks.sequence_models import (
    RNN,
    LRUCell,
    MambaCell,
    Memoroid,
    MinGRUCell,
    SelfAttention,
    SequenceModelWrapper,
)
from memorax.networks.torsos import TORSOS

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "TORSOS",
    "FeatureExtractor",
    "LRUCell",
    "MambaCell",
    "Memoroid",
    "MinGRUCell",
    "Network",
    "OneHot",
    "RoPE",
    "SelfAttention",
    "SequenceModelWrapper",
    "SpaceEncoder",
    "heads",
    "observation_encoder",
    "unroll",
    "unroll_step",
]
