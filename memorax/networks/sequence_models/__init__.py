"""Sequence models: the part of a network that remembers."""

from memorax.networks.sequence_models.causal_convolution import CausalConvolution
from memorax.networks.sequence_models.delta_net import DeltaNetCarry, DeltaNetCell
from memorax.networks.sequence_models.ffm import FFMCell
from memorax.networks.sequence_models.frame_stack import FrameStack
from memorax.networks.sequence_models.fwp import FWPCell
from memorax.networks.sequence_models.gated_delta_net import GatedDeltaNetCell
from memorax.networks.sequence_models.gla import GLACell
from memorax.networks.sequence_models.indrnn import IndRNNCell
from memorax.networks.sequence_models.learned_positional_embedding import LearnedPositionalEmbedding
from memorax.networks.sequence_models.linear_attention import LinearAttentionCarry, LinearAttentionCell
from memorax.networks.sequence_models.lmu import LMUCell
from memorax.networks.sequence_models.lru import LRUCell
from memorax.networks.sequence_models.mamba import MambaCarry, MambaCell
from memorax.networks.sequence_models.memoroid import Memoroid, MemoroidCell
from memorax.networks.sequence_models.min_gru import MinGRUCell
from memorax.networks.sequence_models.min_lstm import MinLSTMCell
from memorax.networks.sequence_models.mlstm import mLSTMCarry, mLSTMCell
from memorax.networks.sequence_models.retnet import RetNetCarry, RetNetCell
from memorax.networks.sequence_models.rg_lru import RGLRUCell
from memorax.networks.sequence_models.rl2_wrapper import RL2Carry, RL2Wrapper
from memorax.networks.sequence_models.rnn import RNN
from memorax.networks.sequence_models.rtrl import RTRL, RTRLCarry
from memorax.networks.sequence_models.rtu import RTUCell
from memorax.networks.sequence_models.rwkv7 import RWKV7Carry, RWKV7Cell
from memorax.networks.sequence_models.s4d import S4DCell
from memorax.networks.sequence_models.s5 import S5Cell
from memorax.networks.sequence_models.segment_recurrence import SegmentRecurrence, SegmentRecurrenceCarry
from memorax.networks.sequence_models.self_attention import SelfAttention, SelfAttentionCarry
from memorax.networks.sequence_models.sequence_model import SequenceModel
from memorax.networks.sequence_models.sequence_model_wrapper import SequenceModelWrapper
from memorax.networks.sequence_models.shm import SHMCarry, SHMCell
from memorax.networks.sequence_models.slstm import sLSTMCarry, sLSTMCell

__all__ = [
    "RNN",
    "RTRL",
    "CausalConvolution",
    "DeltaNetCarry",
    "DeltaNetCell",
    "FFMCell",
    "FWPCell",
    "FrameStack",
    "GLACell",
    "GatedDeltaNetCell",
    "IndRNNCell",
    "LMUCell",
    "LRUCell",
    "LearnedPositionalEmbedding",
    "LinearAttentionCarry",
    "LinearAttentionCell",
    "MambaCarry",
    "MambaCell",
    "Memoroid",
    "MemoroidCell",
    "MinGRUCell",
    "MinLSTMCell",
    "RGLRUCell",
    "RL2Carry",
    "RL2Wrapper",
    "RTRLCarry",
    "RTUCell",
    "RWKV7Carry",
    "RWKV7Cell",
    "RetNetCarry",
    "RetNetCell",
    "S4DCell",
    "S5Cell",
    "SHMCarry",
    "SHMCell",
    "SegmentRecurrence",
    "SegmentRecurrenceCarry",
    "SelfAttention",
    "SelfAttentionCarry",
    "SequenceModel",
    "SequenceModelWrapper",
    "mLSTMCarry",
    "mLSTMCell",
    "sLSTMCarry",
    "sLSTMCell",
]
