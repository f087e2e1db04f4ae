"""The memoryless sequence model."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from memorax.networks.sequence_models.memoroid import MemoroidCell
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key
from memorax.validation import require_several


class SequenceModelWrapper(SequenceModel):
    """A feedforward module as a sequence model without memory; its carry is `()`.

    Attributes:
        module: maps `[B, T, F]` to `[B, T, D]`, each step by itself.
    """

    module: nn.Module

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Apply the module; see `SequenceModel`.

        Raises:
            ValueError: if the module is a norm and the inputs have a single feature.
        """
        check_sequence(inputs, done, carry)
        check_norm(self.module, inputs)
        return carry, self.module(inputs)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The empty carry."""
        return ()


def check_norm(norm: nn.Module, inputs: Array) -> None:
    """Raise a `ValueError` where a norm makes the same of all inputs `[B, T, F]`, as `LayerNorm` does of one feature.

    `RMSNorm` leaves its sign, which is something where a residual path leads around the norm.
    """
    if isinstance(norm, nn.LayerNorm):
        require_several("LayerNorm", f"features ({inputs.shape[-1]})", inputs.shape[-1])


def check_is_sequence_model(model: Any, name: str) -> None:
    """Raise a `ValueError` where what stands for a sequence model is none, saying how to make one of it.

    Args:
        model: what should be a sequence model, or a module with its two methods.
        name: what it is, for the message.
    """
    kind = type(model).__name__
    if isinstance(model, nn.RNNCellBase):
        raise ValueError(f"{name} ({kind}) is a cell, which takes one step: make it RNN({kind}(...))")
    if isinstance(model, MemoroidCell):
        raise ValueError(f"{name} ({kind}) is a cell of a memoroid: make it Memoroid({kind}(...))")
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} ({model!r}) must be a sequence model, a module, and is none: call what makes it")
    if getattr(model, "initialize_carry", None) is None:
        raise ValueError(
            f"{name} ({kind}) has no carry: make it SequenceModelWrapper({kind}(...)) to do without memory"
        )


def as_sequence_model(module: nn.Module) -> nn.Module:
    """The module itself if it is a sequence model, otherwise the memoryless one that applies it at every step."""
    return module if isinstance(module, SequenceModel) else SequenceModelWrapper(module)
