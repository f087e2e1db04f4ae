"""Replay buffers."""

from memorax.buffers.buffer import BufferState, Index, ReplayBatch, ReplayBuffer
from memorax.buffers.priorities import Priorities, importance_weights, sequence_priority
from memorax.buffers.prioritised_buffer import PrioritisedSequenceBuffer
from memorax.buffers.sequence_buffer import SequenceBuffer

__all__ = [
    "BufferState",
    "Index",
    "Priorities",
    "PrioritisedSequenceBuffer",
    "ReplayBatch",
    "ReplayBuffer",
    "SequenceBuffer",
    "importance_weights",
    "sequence_priority",
]
