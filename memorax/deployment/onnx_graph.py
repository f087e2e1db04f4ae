"""Builds ONNX graphs, whose first axis may have any length."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

OPSET = 18
IR_VERSION = 10
"""Read by onnxruntime from 1.18 on."""

VARIABLE = "environments"
"""The variable of axes that have any length."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A real array that is known when the graph runs."""

    name: str


Real = np.ndarray | Tensor
"""A real array, known now or when the graph runs."""


class Graph:
    """An ONNX graph that is being built.

    Args:
        rows: the input whose first axis is `environments * num_agents` long.
        num_agents: see `rows`.
    """

    def __init__(self, rows: Tensor, num_agents: int) -> None:
        self.nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], Tensor] = {}
        self._initializers: dict[str, Any] = {}
        self._rows = rows
        self._num_agents = num_agents
        self._count = 0
        self._environments: Tensor | None = None

    def op(self, kind: str, *inputs: Real | None, num_outputs: int = 1, **attributes: Any) -> Any:
        """Add a node. Returns its output, or a list of `num_outputs`."""
        import onnx

        outputs = [self._new() for _ in range(num_outputs)]
        names = ["" if value is None else self.tensor(value).name for value in inputs]
        self.nodes.append(onnx.helper.make_node(kind, names, [x.name for x in outputs], **attributes))
        return outputs[0] if num_outputs == 1 else outputs

    def tensor(self, value: Real) -> Tensor:
        """A tensor for a value, which is kept in the graph where it is known now."""
        import onnx

        if isinstance(value, Tensor):
            return value
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = self._new().name
            self._constants[key] = Tensor(name)
            self._initializers[name] = onnx.numpy_helper.from_array(
                np.ascontiguousarray(value).reshape(value.shape), name
            )
        return self._constants[key]

    def shape(self, sizes: Sequence[Any]) -> Real:
        """Sizes of axes as an array, int64 `[len(sizes)]`."""
        if all(isinstance(size, int) for size in sizes):
            return np.asarray(sizes, np.int64)
        pieces = [np.asarray([size], np.int64) if isinstance(size, int) else self._length(size) for size in sizes]
        return self.op("Concat", *pieces, axis=0)

    def reshape(self, value: Real, sizes: Sequence[Any]) -> Real:
        """`value` with axes of other sizes."""
        unknown = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
        if isinstance(value, np.ndarray) and not unknown:
            return value.reshape(sizes)
        if len(unknown) == 1 and 0 not in sizes:
            return self.op(
                "Reshape", value, np.asarray([-1 if i in unknown else n for i, n in enumerate(sizes)], np.int64)
            )
        return self.op("Reshape", value, self.shape(sizes), allowzero=int(0 in sizes))

    def expand(self, value: Real, sizes: Sequence[Any]) -> Real:
        """`value` repeated along axes of length one."""
        return self.op("Expand", value, self.shape(sizes))

    def model(
        self, inputs: Mapping[str, tuple[Any, Any]], outputs: Mapping[str, tuple[Tensor, tuple[Any, Any]]]
    ) -> Any:
        """The model.

        Args:
            inputs: dtype and sizes of each input by name; a size that is no integer is any.
            outputs: by name the tensor, its dtype and sizes.
        """
        import onnx

        for name, (tensor, _) in outputs.items():
            self.nodes.append(onnx.helper.make_node("Identity", [tensor.name], [name]))
        nodes = self._needed(outputs)
        used = {name for node in nodes for name in node.input}
        graph = onnx.helper.make_graph(
            nodes,
            "policy",
            [_described(name, *description) for name, description in inputs.items()],
            [_described(name, *description) for name, (_, description) in outputs.items()],
            [initializer for name, initializer in self._initializers.items() if name in used],
        )
        opset = [onnx.helper.make_opsetid("", OPSET)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="memorax")
        onnx.checker.check_model(model)
        return model

    def _needed(self, names: Iterable[str]) -> list[Any]:
        """The nodes that some output depends on, in order."""
        wanted, needed = set(names), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(node.input)
                needed.append(node)
        return needed[::-1]

    def _new(self) -> Tensor:
        self._count += 1
        return Tensor(f"v{self._count}")

    def _length(self, size: Any) -> Tensor:
        """An axis as long as an expression of the variable says, int64 `[1]`."""
        if self._environments is None:
            rows = self.op("Shape", self._rows, start=0, end=1)
            self._environments = self.op("Div", rows, np.asarray([self._num_agents], np.int64))
        slope, offset = _linear(size)
        product = self.op("Mul", self._environments, np.asarray([slope], np.int64))
        return self.op("Add", product, np.asarray([offset], np.int64))


def _linear(size: Any) -> tuple[int, int]:
    """The slope and the offset of a size that is linear in the variable.

    Raises:
        ValueError: if it is not.
    """
    terms = re.sub(r"\s", "", str(size)).replace("-", "+-").split("+")
    slope = offset = 0
    for term in filter(None, terms):
        factors = term.removeprefix("-").split("*")
        numbers = [int(factor) for factor in factors if factor.isdecimal()]
        others = [factor for factor in factors if not factor.isdecimal()]
        if others not in ([], [VARIABLE]):
            raise ValueError(f"an axis is {size} long, which is not linear in the number of environments")
        value = int(np.prod(numbers)) * (-1 if term.startswith("-") else 1)
        slope, offset = (slope + value, offset) if others else (slope, offset + value)
    return slope, offset


def _described(name: str, dtype: Any, sizes: Sequence[Any]) -> Any:
    import onnx

    shape = [size if isinstance(size, int) else str(size).replace("*", "_times_") for size in sizes]
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
