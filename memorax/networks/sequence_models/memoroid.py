"""Cells that run over whole sequences at once, as a sequence model."""

from __future__ import annotations

import abc
from typing import ClassVar

import flax.linen as nn
import jax

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key


class MemoroidCell(nn.Module, abc.ABC):
    """A memory that runs over whole sequences: what it keeps, and how it is read.

    A member projects its inputs, runs one of the reset-aware recurrences of `ops` and reads the result out; it
    trusts its arguments, which `Memoroid` has checked.

    Attributes:
        elementwise: names of the parameters that drive the recurrence, where each unit of the state depends on its own
            past alone and on its own slice of their last axis; empty for any other recurrence (see `RTRL`).
    """

    elementwise: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence: `[B, T, F]`, `[B, T]`, carry -> carry, `[B, T, D]`."""

    @nn.nowrap
    @abc.abstractmethod
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The memory at the start of an episode, float32 or complex64 leaves `[B, ...]`, from `(B, F)`."""


class Memoroid(SequenceModel):
    """A `MemoroidCell` as a sequence model.

    It answers for what every such cell has in common: arguments that fit together, and a carry that keeps its
    structure, shapes and precision from call to call, whatever dtype the cell computes in.

    Attributes:
        cell: the cell, such as `LRUCell(features=64)`.
    """

    cell: MemoroidCell

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run the cell over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if the cell returns a carry of another structure, shape or dtype than it was given.
        """
        check_sequence(inputs, done, carry)
        new_carry, outputs = self.cell(inputs, done, carry)
        before, after = (jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree) for tree in (carry, new_carry))
        if before != after:
            raise ValueError(
                f"{type(self.cell).__name__} was given the carry {before} and returned {after}: both must be alike"
            )
        return new_carry, outputs

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The cell's initial carry."""
        return self.cell.initialize_carry(key, input_shape)
