"""Operations that work element by element."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real
from memorax.deployment.onnx_operations.operation import Complex, Operations, cast, number

OPERATIONS = Operations()

ALIKE = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "is_nan": "IsNaN",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
    "xor": "Xor",
}
"""Operations that have a counterpart."""


LOGICAL = ("And", "Or", "Xor", "Not")


def _alike(kind: str, graph: Graph, parameters: Any, output: Any, *inputs: Real) -> Real:
    if output.dtype == np.uint32 and kind in ("Add", "Sub", "Mul"):
        return _wrapping(kind, graph, parameters, output, *inputs)
    return graph.op(f"Bitwise{kind}" if kind in LOGICAL and output.dtype != bool else kind, *inputs)


for _name, _kind in ALIKE.items():
    OPERATIONS[_name] = functools.partial(_alike, _kind)


def _wrapping(kind: str, graph: Graph, parameters: Any, output: Any, *inputs: Real) -> Real:
    """Arithmetic of 32 bits without a sign, which ONNX lacks: the lower half of that of 64 bits."""
    wide = graph.op(kind, *(cast(graph, value, np.int64) for value in inputs))
    return cast(graph, graph.op("BitwiseAnd", wide, np.asarray(2**32 - 1, np.int64)), output.dtype)


@OPERATIONS.of("shift_right_logical", "shift_left")
def _shift(graph: Graph, parameters: Any, output: Any, value: Real, distance: Real) -> Real:
    if not np.issubdtype(output.dtype, np.unsignedinteger):
        raise NotImplementedError(f"{parameters['name']} of numbers with a sign")
    return graph.op("BitShift", value, distance, direction="LEFT" if parameters["name"] == "shift_left" else "RIGHT")


@OPERATIONS.of("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision", "device_put")
def _same(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return value


@OPERATIONS.of("ne")
def _not_equal(graph: Graph, parameters: Any, output: Any, one: Real, other: Real) -> Real:
    return graph.op("Not", graph.op("Equal", one, other))


@OPERATIONS.of("square")
def _square(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Mul", value, value)


@OPERATIONS.of("rsqrt")
def _rsqrt(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Reciprocal", graph.op("Sqrt", value))


@OPERATIONS.of("exp2")
def _exp2(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Pow", number(2.0, output), value)


@OPERATIONS.of("expm1")
def _expm1(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    # Exact also near zero, where exp(x) - 1 cancels: tanh(x / 2) (exp(x) + 1). It overflows no earlier than exp.
    half = graph.op("Tanh", graph.op("Mul", value, number(0.5, output)))
    return graph.op("Mul", half, graph.op("Add", graph.op("Exp", value), number(1.0, output)))


@OPERATIONS.of("log1p")
def _log1p(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    # Exact also near zero (Kahan): log(u) x / (u - 1) with u = 1 + x rounded, and x where u is 1.
    one = number(1.0, output)
    rounded = graph.op("Add", value, one)
    same = graph.op("Equal", rounded, one)
    rest = graph.op("Where", same, one, graph.op("Sub", rounded, one))
    ratio = graph.op("Div", graph.op("Mul", graph.op("Log", rounded), value), rest)
    finite = graph.op("Where", graph.op("IsInf", rounded), rounded, ratio)
    return graph.op("Where", same, value, finite)


@OPERATIONS.of("is_finite")
def is_finite(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    return graph.op("Not", graph.op("Or", graph.op("IsNaN", value), graph.op("IsInf", value)))


@OPERATIONS.of("integer_pow")
def _integer_pow(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    power = parameters["y"]
    result = functools.reduce(lambda one, other: graph.op("Mul", one, other), [value] * abs(power))
    return result if power > 0 else graph.op("Reciprocal", result)


@OPERATIONS.of("rem")
def _rem(graph: Graph, parameters: Any, output: Any, one: Real, other: Real) -> Real:
    if output.dtype == np.uint32:
        one, other = (cast(graph, value, np.int64) for value in (one, other))
        return cast(graph, graph.op("Mod", one, other, fmod=1), output.dtype)
    return graph.op("Mod", one, other, fmod=1)  # with the sign of the dividend


@OPERATIONS.of("round")
def _round(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    if int(parameters["rounding_method"]) == 1:
        return graph.op("Round", value)  # halves to even
    away = graph.op("Floor", graph.op("Add", graph.op("Abs", value), number(0.5, output)))
    return graph.op("Mul", graph.op("Sign", value), away)


@OPERATIONS.of("clamp")
def _clamp(graph: Graph, parameters: Any, output: Any, low: Real, value: Real, high: Real) -> Real:
    return graph.op("Min", graph.op("Max", value, low), high)


@OPERATIONS.of("select_n")
def _select(graph: Graph, parameters: Any, output: Any, which: Real, *cases: Real) -> Real:
    if parameters["types"][0] == np.dtype(bool):
        return graph.op("Where", which, cases[1], cases[0])
    chosen = cases[0]
    for index, case in enumerate(cases[1:], 1):
        chosen = graph.op("Where", graph.op("Equal", which, np.asarray(index, np.int32)), case, chosen)
    return chosen


@OPERATIONS.of("convert_element_type")
def _convert(graph: Graph, parameters: Any, output: Any, value: Real) -> Any:
    if np.issubdtype(output.dtype, np.complexfloating):
        return Complex(cast(graph, value, np.float32), np.zeros((), np.float32))
    return cast(graph, value, output.dtype)


@OPERATIONS.of("complex")
def _complex(graph: Graph, parameters: Any, output: Any, real: Real, imag: Real) -> Complex:
    return Complex(real, imag)
