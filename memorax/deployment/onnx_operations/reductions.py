"""Sums, products, orders."""

from __future__ import annotations

import functools
import string
from typing import Any

import numpy as np

from memorax.deployment.onnx_graph import Graph, Real
from memorax.deployment.onnx_operations.operation import Operations, cast

OPERATIONS = Operations()

REDUCTIONS = {
    "reduce_sum": "ReduceSum",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}


def _reduce(kind: str, graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    if not parameters["axes"]:
        return value
    return graph.op(kind, value, np.asarray(parameters["axes"], np.int64), keepdims=0)


for _name, _kind in REDUCTIONS.items():
    OPERATIONS[_name] = functools.partial(_reduce, _kind)


@OPERATIONS.of("reduce_and", "reduce_or")
def _reduce_logic(graph: Graph, parameters: Any, output: Any, value: Real, *_: Real) -> Real:
    kind = "ReduceMin" if parameters["name"] == "reduce_and" else "ReduceMax"
    reduced = graph.op(kind, cast(graph, value, np.int32), np.asarray(parameters["axes"], np.int64), keepdims=0)
    return cast(graph, reduced, np.bool_)


@OPERATIONS.of("argmax", "argmin")
def _arg(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[parameters["name"]]
    (axis,) = parameters["axes"]
    return cast(graph, graph.op(kind, value, axis=axis, keepdims=0), output.dtype)


CUMULATIVE = {"cumsum": "Add", "cumprod": "Mul", "cummax": "Max", "cummin": "Min"}


@OPERATIONS.of(*CUMULATIVE)
def _cumulative(graph: Graph, parameters: Any, output: Any, value: Real) -> Real:
    axis, length = parameters["axis"], output.shape[parameters["axis"]]
    if length == 1:
        return value
    pieces = graph.op("Split", value, np.ones(length, np.int64), axis=axis, num_outputs=length)
    order = pieces[::-1] if parameters["reverse"] else pieces
    running = [order[0]]
    for piece in order[1:]:
        running.append(graph.op(CUMULATIVE[parameters["name"]], running[-1], piece))
    return graph.op("Concat", *(running[::-1] if parameters["reverse"] else running), axis=axis)


@OPERATIONS.of("dot_general")
def dot(graph: Graph, parameters: Any, output: Any, left: Real, right: Real) -> Real:
    (left_summed, right_summed), (left_batch, right_batch) = parameters["dimension_numbers"]
    left_rank, right_rank = (len(shape) for shape in parameters["shapes"])
    plain = left_summed == (left_rank - 1,) and right_summed == (0,) and right_rank == 2
    if plain and not left_batch:
        return graph.op("MatMul", left, right)
    letters = iter(string.ascii_lowercase)
    left_names, right_names = [next(letters) for _ in range(left_rank)], [next(letters) for _ in range(right_rank)]
    for one, other in zip((*left_summed, *left_batch), (*right_summed, *right_batch), strict=True):
        right_names[other] = left_names[one]
    batch = [left_names[axis] for axis in left_batch]
    free = [left_names[axis] for axis in range(left_rank) if axis not in (*left_summed, *left_batch)]
    free += [right_names[axis] for axis in range(right_rank) if axis not in (*right_summed, *right_batch)]
    equation = f"{''.join(left_names)},{''.join(right_names)}->{''.join(batch + free)}"
    return graph.op("Einsum", left, right, equation=equation)
