"""What a translation of an operation is, and what translations share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real


@dataclasses.dataclass(frozen=True)
class Complex:
    """A complex array, of which at least one part is known only when the graph runs."""

    real: Real
    imag: Real


Operation = Callable[..., Any]
"""`(graph, parameters, output, *inputs)`: the parameters of JAX's operation, and the shape and type of its output."""


class Operations(dict[str, Operation]):
    """Translations by the names of JAX's operations."""

    def of(self, *names: str) -> Callable[[Operation], Operation]:
        """Register the function below for these names."""

        def register(operation: Operation) -> Operation:
            self.update(dict.fromkeys(names, operation))
            return operation

        return register


def cast(graph: Graph, value: Real, dtype: Any) -> Real:
    """`value` in another type."""
    import onnx

    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    return graph.op("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def number(value: float, like: Any) -> np.ndarray:
    """A number in the type of an array."""
    return np.asarray(value, like.dtype)
