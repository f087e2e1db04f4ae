"""Replay buffers."""

from memorax.buffers.sequence_buffer import BufferState, Chunk, ReplayBatch, SequenceBuffer

__all__ = ["BufferState", "Chunk", "ReplayBatch", "SequenceBuffer"]
