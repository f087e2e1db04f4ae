"""Complex arrays, which ONNX lacks: their real and imaginary parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real, Tensor
from memorax.deployment.onnx_operations.elementwise import is_finite
from memorax.deployment.onnx_operations.operation import Complex, Operation, Operations, cast
from memorax.deployment.onnx_operations.reductions import dot

OPERATIONS = Operations()
"""Operations on complex arrays that are not those of their parts."""

BY_PARTS = (
    "add",
    "sub",
    "neg",
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "dynamic_slice",
    "gather",
    "pad",
    "reduce_sum",
    "reshape",
    "rev",
    "select_n",
    "slice",
    "split",
    "squeeze",
    "stack",
    "stop_gradient",
    "transpose",
    "unstack",
)
"""Operations on complex arrays that are those of their real and imaginary parts."""


def parts(value: Any) -> tuple[Real, Real]:
    """The real and the imaginary part of an array, which may be real."""
    if isinstance(value, Complex):
        return value.real, value.imag
    if isinstance(value, np.ndarray):
        return np.asarray(value.real), np.asarray(value.imag)
    return value, np.zeros((), np.float32)


def is_complex(value: Any) -> bool:
    """Whether an array is complex."""
    return isinstance(value, Complex) or (isinstance(value, np.ndarray) and np.iscomplexobj(value))


def _product(graph: Graph, multiply: Callable[[Real, Real], Real], one: Any, other: Any) -> Complex:
    (a, b), (c, d) = parts(one), parts(other)
    real = graph.op("Sub", multiply(a, c), multiply(b, d))
    return Complex(real, graph.op("Add", multiply(a, d), multiply(b, c)))


@OPERATIONS.of("mul")
def _complex_multiply(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    return _product(graph, lambda x, y: graph.op("Mul", x, y), one, other)


@OPERATIONS.of("square")
def _complex_square(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    return _complex_multiply(graph, parameters, output, value, value)


@OPERATIONS.of("dot_general")
def _complex_dot(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    return _product(graph, lambda x, y: dot(graph, parameters, output, x, y), one, other)


@OPERATIONS.of("div")
def _complex_divide(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Complex:
    c, d = parts(other)
    conjugate = Complex(c, graph.op("Neg", d))
    squared = graph.op("Add", graph.op("Mul", c, c), graph.op("Mul", d, d))
    product = _complex_multiply(graph, parameters, output, one, conjugate)
    return Complex(graph.op("Div", product.real, squared), graph.op("Div", product.imag, squared))


@OPERATIONS.of("exp")
def _complex_exp(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    real, imag = parts(value)
    size = graph.op("Exp", real)
    return Complex(graph.op("Mul", size, graph.op("Cos", imag)), graph.op("Mul", size, graph.op("Sin", imag)))


@OPERATIONS.of("real")
def _real(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    return parts(value)[0]


@OPERATIONS.of("imag")
def _imag(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    return parts(value)[1]


@OPERATIONS.of("conj")
def _conjugate(graph: Graph, parameters: Any, output: Any, value: Any) -> Complex:
    real, imag = parts(value)
    return Complex(real, graph.op("Neg", imag))


@OPERATIONS.of("abs")
def _complex_abs(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    real, imag = parts(value)
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", real, real), graph.op("Mul", imag, imag)))


@OPERATIONS.of("convert_element_type")
def _complex_convert(graph: Graph, parameters: Any, output: Any, value: Any) -> Any:
    return value if np.issubdtype(output.dtype, np.complexfloating) else cast(graph, parts(value)[0], output.dtype)


@OPERATIONS.of("eq")
def _complex_equal(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Real:
    (a, b), (c, d) = parts(one), parts(other)
    return graph.op("And", graph.op("Equal", a, c), graph.op("Equal", b, d))


@OPERATIONS.of("ne")
def _complex_not_equal(graph: Graph, parameters: Any, output: Any, one: Any, other: Any) -> Real:
    return graph.op("Not", _complex_equal(graph, parameters, output, one, other))


@OPERATIONS.of("is_finite")
def _complex_is_finite(graph: Graph, parameters: Any, output: Any, value: Any) -> Real:
    real, imag = (is_finite(graph, parameters, output, part) for part in parts(value))
    return graph.op("And", real, imag)


def by_parts(operation: Operation, graph: Graph, parameters: Any, output: Any, name: str, inputs: Sequence[Any]) -> Any:
    """An operation on the real parts and on the imaginary parts; real inputs that select or index go to both."""
    selectors = {"select_n": [0], "dynamic_slice": range(1, len(inputs)), "gather": [1]}.get(name, [])

    def whole(part: Real, shape: Sequence[Any]) -> Real:
        """A part in its shape: the imaginary one of what was real is a number."""
        return graph.expand(part, shape) if isinstance(part, np.ndarray) and part.ndim < len(shape) else part

    both = [
        (value, value) if index in selectors else tuple(whole(part, shape) for part in parts(value))
        for index, (value, shape) in enumerate(zip(inputs, parameters["shapes"], strict=True))
    ]
    real, imag = (operation(graph, parameters, output, *(pair[i] for pair in both)) for i in (0, 1))
    if isinstance(real, list):
        return [Complex(one, other) for one, other in zip(real, imag, strict=True)]
    return Complex(real, imag)


def stored(graph: Graph, value: Any) -> Tensor:
    """An array as inputs and outputs hold it: a complex one with a last axis of its two parts."""
    if not is_complex(value):
        return graph.tensor(value)
    pieces = [graph.op("Unsqueeze", part, np.asarray([-1], np.int64)) for part in parts(value)]
    return graph.op("Concat", *pieces, axis=-1)


def taken(graph: Graph, tensor: Tensor, is_complex: bool) -> Any:
    """The inverse of `stored`."""
    if not is_complex:
        return tensor
    pieces = graph.op("Split", tensor, np.ones(2, np.int64), axis=-1, num_outputs=2)
    return Complex(*(graph.op("Squeeze", piece, np.asarray([-1], np.int64)) for piece in pieces))
