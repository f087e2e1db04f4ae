"""`Memoroid`, which turns a cell that runs over whole sequences into a sequence model."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key


class MemoroidCell(nn.Module, abc.ABC):
    """A memory that runs over whole sequences: what it keeps, and how it is read.

    A member projects its inputs, runs one of the reset-aware recurrences of `ops` and reads the result out; it
    trusts its arguments, which `Memoroid` has checked.

    Attributes:
        elementwise: names of the parameters that drive the recurrence, where each unit of the state depends on its own
            past alone and on its own slice of their last axis; empty for any other recurrence (see `RTRL`).
        in_blocks: whether long sequences run in blocks of time that the backward pass computes again, as suits a cell
            that would keep much for every step: memory then grows by what goes in and out of the cell alone. Not for a
            cell that sows losses.
    """

    elementwise: ClassVar[tuple[str, ...]] = ()
    in_blocks: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run over a sequence: `[B, T, F]`, `[B, T]`, carry -> carry, `[B, T, D]`."""

    @nn.nowrap
    @abc.abstractmethod
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The memory at the start of an episode, float32 or complex64 leaves `[B, ...]`, from `(B, F)`."""


INPUTS_PER_BLOCK = {"cpu": 8192}
"""How many inputs, of all sequences together, a block of a cell that runs `in_blocks` holds, by platform.

What is computed of a block stays in the caches of a CPU, and what is one block is not computed again (measured at B=16,
T=512, forward and backward: mLSTM 16 ms in one block, 19 in eight; T=8192: 310 either way).
"""


class Memoroid(SequenceModel):
    """A `MemoroidCell` as a sequence model.

    It answers for what every such cell has in common: arguments that fit together, and a carry that keeps its
    structure, shapes and precision from call to call, whatever dtype the cell computes in. Most cells run on
    recurrences whose backward pass is written by hand: they do not support forward mode (`jax.jvp`).

    Attributes:
        cell: the cell, such as `LRUCell(features=64)`.
    """

    cell: MemoroidCell

    def __post_init__(self) -> None:
        """Check the kind of the cell."""
        if not isinstance(self.cell, MemoroidCell):
            raise ValueError(
                f"Memoroid cell ({type(self.cell).__name__}) must be a MemoroidCell; RNN takes the RNN cells of Flax"
            )
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run the cell over a sequence; see `SequenceModel`.

        Raises:
            ValueError: if the cell returns a carry of another structure, shape or dtype than it was given, or sows
                losses in blocks.
        """
        check_sequence(inputs, done, carry)
        new_carry, outputs = self._run(inputs, done, carry)
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

    def _run(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        batch_size, time = done.shape
        # A step is not divided, nor the number of rows, which has no value while a policy is exported.
        if not self.cell.in_blocks or time == 1 or self.is_initializing():
            return self.cell(inputs, done, carry)
        num_blocks = math.ceil(batch_size * time / INPUTS_PER_BLOCK.get(jax.default_backend(), 65536))
        length = math.ceil(time / num_blocks)
        if length == time:
            return self.cell(inputs, done, carry)

        def block(cell: MemoroidCell, carry: Carry, xs: tuple[Array, Array]) -> tuple[Carry, Array]:
            return cell(*xs, carry)

        end = time // length * length
        blocks = jax.tree.map(lambda x: x[:, :end].reshape(batch_size, -1, length, *x.shape[2:]), (inputs, done))
        recomputed = nn.remat(block, prevent_cse=False)
        scan = nn.scan(recomputed, {"losses": 0}, "params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        carry, outputs = scan(self.cell, carry, blocks)
        if self.cell.variables.get("losses"):
            raise ValueError(f"{type(self.cell).__name__} in_blocks (True) must be False where a cell sows losses")
        outputs = outputs.reshape(batch_size, end, -1)
        if end == time:
            return carry, outputs
        carry, rest = self.cell(inputs[:, end:], done[:, end:], carry)
        return carry, jnp.concatenate([outputs, rest], axis=1)
