"""Recurrent cells of Flax as a sequence model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from memorax.networks.dense import project
from memorax.networks.sequence_models.ops.recurrence import Gates, Step, recurrence
from memorax.networks.sequence_models.sequence_model import SequenceModel, check_sequence
from memorax.types import Array, Carry, Key, PyTree, where


class RNN(SequenceModel):
    """Any Flax recurrent cell, run over time.

    Flax's GRU, LSTM, MGU and simple cells compute their input projections for the whole sequence at once, with the
    cell's own parameters and to the cell's own result; any other cell is called step by step. The backward pass of
    Flax's gated cells is written by hand: they do not support forward mode (`jax.jvp`).

    Attributes:
        cell: an `nn.RNNCellBase`, such as `nn.GRUCell(features=64)` or `nn.OptimizedLSTMCell(features=64)`.
    """

    cell: nn.RNNCellBase

    def __post_init__(self) -> None:
        """Check the kind of the cell."""
        if not isinstance(self.cell, nn.RNNCellBase):
            raise ValueError(
                f"RNN cell ({type(self.cell).__name__}) must be a Flax RNN cell (nn.RNNCellBase); Memoroid takes "
                "the cells of memorax"
            )
        if type(self.cell) in _GATED_CELLS and self.cell.features < 1:
            raise ValueError(f"{type(self.cell).__name__} features ({self.cell.features}) must be at least 1")
        super().__post_init__()

    def __call__(self, inputs: Array, done: Array, carry: Carry) -> tuple[Carry, Array]:
        """Run the cell over a sequence; see `SequenceModel`."""
        check_sequence(inputs, done, carry)
        start = self.initialize_carry(jax.random.key(0), (inputs.shape[0], inputs.shape[2]))
        gated = _GATED_CELLS.get(type(self.cell))
        if gated is None or self.is_initializing():
            return self._run_cell(inputs, done, carry, start)
        return self._run_gates(gated, inputs, done, carry, start)

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Carry:
        """The cell's initial carry, the same for every key: the start of an episode is one fixed state."""
        return self.cell.initialize_carry(jax.random.key(0), input_shape)

    def _run_cell(self, inputs: Array, done: Array, carry: Carry, start: Carry) -> tuple[Carry, Array]:
        def step(cell: nn.RNNCellBase, carry: Carry, xs: tuple[Array, Array]) -> tuple[Carry, Array]:
            inputs, done = xs
            new, outputs = cell(where(done, start, carry), inputs)
            return jax.tree.map(lambda x, old: x.astype(old.dtype), new, carry), outputs

        if inputs.shape[1] == 1:
            carry, outputs = step(self.cell, carry, (inputs[:, 0], done[:, 0]))
            return carry, outputs[:, None]
        scan = nn.scan(step, {"losses": 0}, variable_broadcast="params", split_rngs={"params": False})
        # A loss of the cell is the mean over its steps, as that of a layer is the mean over a sequence.
        scan = nn.map_variables(scan, "losses", trans_out_fn=_mean_over_time, mutable=True)
        carry, outputs = scan(self.cell, carry, (inputs.swapaxes(0, 1), done.T))
        return carry, outputs.swapaxes(0, 1)

    def _run_gates(
        self, gated: GatedCell, inputs: Array, done: Array, carry: Carry, start: Carry
    ) -> tuple[Carry, Array]:
        params = self.cell.variables["params"]
        dtype = self.cell.dtype
        kernel, bias = _concatenate(params, gated.input_names)
        time_major = inputs.swapaxes(0, 1)
        time_major, kernel, bias = promote_dtype(time_major, kernel, bias, dtype=dtype)
        gates = jnp.split(project(time_major, kernel) + bias[None, None], len(gated.input_names), axis=-1)
        kernel, bias = _concatenate(params, gated.recurrent_names)
        _, kernel, bias = promote_dtype(time_major, kernel, bias, dtype=dtype)
        carry, outputs = recurrence(gated.step(self.cell), kernel, bias, tuple(gates), done.T, carry, start)
        return carry, outputs.swapaxes(0, 1)


def _mean_over_time(losses: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.mean(axis=0), losses)


class GatedCell(NamedTuple):
    """A Flax cell taken apart: its layers' names, in the order of the gates, and its elementwise step."""

    input_names: tuple[str, ...]
    recurrent_names: tuple[str, ...]
    step: Callable[[Any], Step]


def _concatenate(params: PyTree, names: tuple[str, ...]) -> tuple[Array, Array]:
    """The kernels `[F, H]` of the named layers side by side, and their biases (zero where a layer has none)."""
    layers = [params[name] for name in names]
    kernels = [layer["kernel"] for layer in layers]
    biases = [layer.get("bias", jnp.zeros(kernel.shape[-1:])) for layer, kernel in zip(layers, kernels, strict=True)]
    return jnp.concatenate(kernels, axis=-1), jnp.concatenate(biases)


def _gru(cell: nn.GRUCell) -> Step:
    def step(x: Gates, h: Gates, state: Array) -> Array:
        r = cell.gate_fn(x[0] + h[0])
        z = cell.gate_fn(x[1] + h[1])
        n = cell.activation_fn(x[2] + r * h[2])
        return (1.0 - z) * n + z * state

    return step


def _lstm(cell: nn.LSTMCell) -> Step:
    def step(x: Gates, h: Gates, state: tuple[Array, Array]) -> tuple[Array, Array]:
        i, f, g, o = (a + b for a, b in zip(x, h, strict=True))
        c = cell.gate_fn(f) * state[0] + cell.gate_fn(i) * cell.activation_fn(g)
        return c, cell.gate_fn(o) * cell.activation_fn(c)

    return step


def _simple(cell: nn.SimpleCell) -> Step:
    def step(x: Gates, h: Gates, state: Array) -> Array:
        total = x[0] + h[0]
        return cell.activation_fn(total + state if cell.residual else total)

    return step


def _mgu(cell: nn.MGUCell) -> Step:
    def step(x: Gates, h: Gates, state: Array) -> Array:
        f = cell.gate_fn(x[0] + h[0])
        n = cell.activation_fn(x[1] + (f * h[1] if cell.reset_gate else h[1]))
        return (1.0 - f) * n + f * state

    return step


# Looked up by exact type: a subclass may compute something else and is called step by step.
_GATED_CELLS: dict[type[nn.RNNCellBase], GatedCell] = {
    nn.GRUCell: GatedCell(("ir", "iz", "in"), ("hr", "hz", "hn"), _gru),
    nn.LSTMCell: GatedCell(("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"), _lstm),
    nn.OptimizedLSTMCell: GatedCell(("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"), _lstm),
    nn.SimpleCell: GatedCell(("i",), ("h",), _simple),
    nn.MGUCell: GatedCell(("if", "in"), ("hf", "hn"), _mgu),
}
