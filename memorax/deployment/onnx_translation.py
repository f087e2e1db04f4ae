"""Translates a function of JAX to ONNX, operation by operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from memorax.deployment.onnx_graph import Graph, Tensor
from memorax.deployment.onnx_operations import BY_PARTS, COMPLEX, REAL, Complex, by_parts, is_complex, parts
from memorax.jaxprs import scan_inputs

CALLS = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
"""Operations that call a function, and the parameter that holds it."""

LONGEST_LOOP = 64
"""The most turns of a loop that are written one after the other."""


@dataclasses.dataclass(frozen=True)
class Untranslated:
    """What depends on an operation that has no counterpart: no harm, unless an output depends on it."""

    operation: str


Value = np.ndarray | Tensor | Complex | Untranslated


def translate(graph: Graph, program: Any, constants: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
    """Add a program to a graph.

    Args:
        graph: the graph.
        program: a jaxpr.
        constants: its constants.
        inputs: its inputs. Whatever depends on arrays that are known now alone is computed now.

    Returns:
        Its outputs.
    """
    known: dict[Any, Value] = dict(zip(program.constvars, map(_constant, constants), strict=True))
    known.update(zip(program.invars, inputs, strict=True))

    def read(variable: Any) -> Value:
        if hasattr(variable, "val"):
            return _constant(np.asarray(variable.val, variable.aval.dtype))
        return known[variable]

    for equation in program.eqns:
        outputs = _translate_one(graph, equation, [read(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in program.outvars]


def _translate_one(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    name, outputs = equation.primitive.name, [variable.aval for variable in equation.outvars]
    if name in CALLS:
        called = equation.params[CALLS[name]]
        constants = getattr(called, "consts", ())
        return translate(graph, getattr(called, "jaxpr", called), constants, inputs)
    for value in inputs:
        if isinstance(value, Untranslated):
            return [value] * len(outputs)
    if name == "scan" and equation.params["length"] <= LONGEST_LOOP:
        return _unroll(graph, equation, inputs)
    sized = all(isinstance(size, int) for output in outputs for size in output.shape)
    if sized and name != "dim_as_value" and all(isinstance(value, np.ndarray) for value in inputs):
        return _compute_now(equation, inputs)
    parameters = {
        **equation.params,
        "name": name,
        "shapes": [variable.aval.shape for variable in equation.invars],
        "types": [variable.aval.dtype for variable in equation.invars],
    }
    translated: Any = None
    try:
        if not any(map(is_complex, inputs)):
            translated = REAL[name](graph, parameters, outputs[0], *inputs) if name in REAL else None
        elif name in BY_PARTS and name in REAL:
            translated = by_parts(REAL[name], graph, parameters, outputs[0], name, inputs)
        elif name in COMPLEX:
            translated = COMPLEX[name](graph, parameters, outputs[0], *inputs)
    except NotImplementedError as error:
        name = str(error)
    if translated is None:
        return [Untranslated(name)] * len(outputs)
    return translated if isinstance(translated, list) else [translated]


def _compute_now(equation: Any, inputs: list[Any]) -> list[Value]:
    results = equation.primitive.bind(*map(jax.numpy.asarray, inputs), **equation.params)
    return [_constant(result) for result in (results if equation.primitive.multiple_results else [results])]


def _constant(value: Any) -> Value:
    """A constant; random keys are of no use in a graph."""
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return Untranslated("random keys")
    return np.asarray(value)


def _unroll(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """The turns of a loop, one after the other."""
    parameters = equation.params
    constants, carried, sequences = scan_inputs(parameters, inputs)
    body, length, num_carried = parameters["jaxpr"], parameters["length"], len(carried)
    turns: list[list[Value]] = []
    order = range(length)[::-1] if parameters["reverse"] else range(length)
    for turn in order:
        now = [_element(graph, sequence, turn) for sequence in sequences]
        results = translate(graph, body.jaxpr, body.consts, [*constants, *carried, *now])
        carried = results[:num_carried]
        turns.append(results[num_carried:])
    turns = turns[::-1] if parameters["reverse"] else turns
    return [*carried, *(_stacked(graph, list(values)) for values in zip(*turns, strict=True))]


def _element(graph: Graph, value: Any, index: int) -> Value:
    if isinstance(value, Complex):
        return Complex(*(_element(graph, part, index) for part in (value.real, value.imag)))  # type: ignore[arg-type]
    if isinstance(value, np.ndarray):
        return value[index]
    return graph.op("Gather", value, np.asarray(index, np.int64), axis=0)


def _stacked(graph: Graph, values: list[Any]) -> Value:
    for value in values:
        if isinstance(value, Untranslated):
            return value
    if all(isinstance(value, np.ndarray) for value in values):
        return np.stack(values)
    if any(map(is_complex, values)):
        real, imag = zip(*map(parts, values), strict=True)
        return Complex(_stacked(graph, list(real)), _stacked(graph, list(imag)))  # type: ignore[arg-type]
    first = np.asarray([0], np.int64)
    return graph.op("Concat", *(graph.op("Unsqueeze", value, first) for value in values), axis=0)
