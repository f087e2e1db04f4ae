"""Replay buffers."""

from memorax.buffers.buffer import BufferState, Index, ReplayBatch, ReplayBuffer
from memorax.buffers.episode_buffer import EpisodeBuffer
from memorax.buffers.priorities import Priorities, importance_weights, sequence_priority
from memorax.buffers.prioritised_buffer import PrioritisedEpisodeBuffer, PrioritisedSequenceBuffer
from memorax.buffers.sequence_buffer import SequenceBuffer

__all__ = [
    "BufferState",
    "EpisodeBuffer",
    "Index",
    "Priorities",
    "PrioritisedEpisodeBuffer",
    "PrioritisedSequenceBuffer",
    "ReplayBatch",
    "ReplayBuffer",
    "SequenceBuffer",
    "importance_weights",
    "sequence_priority",
]
