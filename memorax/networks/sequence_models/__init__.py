"""Sequence models: what an agent remembers with."""

from memorax.networks.sequence_models.frame_stack import FrameStack
from memorax.networks.sequence_models.lru import LRUCell
from memorax.networks.sequence_models.mamba import MambaCarry, MambaCell
from memorax.networks.sequence_models.memoroid import Memoroid, MemoroidCell
from memorax.networks.sequence_models.min_gru import MinGRUCell
from memorax.networks.sequence_models.rl2_wrapper import RL2Carry, RL2Wrapper
from memorax.networks.sequence_models.rnn import RNN
from memorax.networks.sequence_models.self_attention import SelfAttention, SelfAttentionCarry
from memorax.networks.sequence_models.sequence_model import SequenceModel
from memorax.networks.sequence_models.sequence_model_wrapper import SequenceModelWrapper

__all__ = [
    "RNN",
    "FrameStack",
    "LRUCell",
    "MambaCarry",
    "MambaCell",
    "Memoroid",
    "MemoroidCell",
    "MinGRUCell",
    "RL2Carry",
    "RL2Wrapper",
    "SelfAttention",
    "SelfAttentionCarry",
    "SequenceModel",
    "SequenceModelWrapper",
]
