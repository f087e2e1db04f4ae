"""The memoryless sequence model."""

from __future__ import annotations

import flax.linen as nn

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key


class SequenceModelWrapper(SequenceModel):
    """A feedforward module as a sequence model without memory; its carry is `()`.

    Attributes:
        module: maps `[B, T, F]` to `[B, T, D]`, each step by itself.
    """

    module: nn.Module

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Apply the module; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        return carry, self.module(inputs)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The empty carry."""
        return ()


def as_sequence_model(module: nn.Module) -> nn.Module:
    """The module itself if it is a sequence model, otherwise the memoryless one that applies it at every step."""
    return module if isinstance(module, SequenceModel) else SequenceModelWrapper(module)
