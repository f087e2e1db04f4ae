"""The base class of blocks, which accept any module in the place of a sequence model."""

from __future__ import annotations

import flax.linen as nn

from memorax.networks.sequence_models.sequence_model import SequenceModel
from memorax.networks.sequence_models.sequence_model_wrapper import as_sequence_model
from memorax.types import Carry, Key


class Block(SequenceModel):
    """Base class of modules around sequence models that add no memory of their own.

    Attributes:
        model: a sequence model, or any module that maps `[B, T, F]` to `[B, T, D]`, each step by itself.
    """

    model: nn.Module

    def __post_init__(self) -> None:
        """Let a module without memory stand where a sequence model does."""
        self.model = as_sequence_model(self.model)
        super().__post_init__()

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The model's initial carry."""
        return self.model.initialize_carry(key, input_shape)
