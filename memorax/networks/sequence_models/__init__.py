"""Sequence models: what an agent remembers with."""

from memorax.networks.sequence_models.delta_net import DeltaNetCarry, DeltaNetCell
from memorax.networks.sequence_models.frame_stack import FrameStack
from memorax.networks.sequence_models.fwp import FWPCell
from memorax.networks.sequence_models.gated_delta_net import GatedDeltaNetCell
from memorax.networks.sequence_models.gla import GLACell
from memorax.networks.sequence_models.learned_positional_embedding import LearnedPositionalEmbedding
from memorax.networks.sequence_models.linear_attention import LinearAttentionCarry, LinearAttentionCell
from memorax.networks.sequence_models.lru import LRUCell
from memorax.networks.sequence_models.mamba import MambaCarry, MambaCell
from memorax.networks.sequence_models.memoroid import Memoroid, MemoroidCell
from memorax.networks.sequence_models.min_gru import MinGRUCell
from memorax.networks.sequence_models.mlstm import mLSTMCarry, mLSTMCell
from memorax.networks.sequence_models.retnet import RetNetCarry, RetNetCell
from memorax.networks.sequence_models.rl2_wrapper import RL2Carry, RL2Wrapper
from memorax.networks.sequence_models.rnn import RNN
from memorax.networks.sequence_models.rwkv7 import RWKV7Carry, RWKV7Cell
from memorax.networks.sequence_models.segment_recurrence import SegmentRecurrence, SegmentRecurrenceCarry
from memorax.networks.sequence_models.self_attention import SelfAttention, SelfAttentionCarry
from memorax.networks.sequence_models.sequence_model import SequenceModel
from memorax.networks.sequence_models.sequence_model_wrapper import SequenceModelWrapper

__all__ = [
    "RNN",
    "DeltaNetCarry",
    "DeltaNetCell",
    "FWPCell",
    "FrameStack",
    "GLACell",
    "GatedDeltaNetCell",
    "LRUCell",
    "LearnedPositionalEmbedding",
    "LinearAttentionCarry",
    "LinearAttentionCell",
    "MambaCarry",
    "MambaCell",
    "Memoroid",
    "MemoroidCell",
    "MinGRUCell",
    "RL2Carry",
    "RL2Wrapper",
    "RWKV7Carry",
    "RWKV7Cell",
    "RetNetCarry",
    "RetNetCell",
    "SegmentRecurrence",
    "SegmentRecurrenceCarry",
    "SelfAttention",
    "SelfAttentionCarry",
    "SequenceModel",
    "SequenceModelWrapper",
    "mLSTMCarry",
    "mLSTMCell",
]
