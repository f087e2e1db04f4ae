"""Finds the operation that made the first NaN or infinity of a computation.

A jaxpr is evaluated equation by equation. Every equation runs compiled; one that contains others (a loop, a branch, a
function) is entered only where what it returns is not finite. Each value that is not finite carries along where it came
from, so that a NaN which `where` deselects is not taken for the cause of one that reached the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend import core

from memorax.algorithms.algorithm import Agent
from memorax.jaxprs import scan_inputs
from memorax.training.finite import PARAMETERS, examine, find_not_finite, learned_parameters
from memorax.types import Key, Metrics, PyTree

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "chex")
"""Packages whose lines say little about a mistake in a network or an environment."""

CALLERS = 4
"""Lines of a traceback that are told: the innermost one alone may be that of a layer which everything uses."""


@dataclass(frozen=True)
class Origin:
    """Where a value that is not finite was made.

    Attributes:
        operation: name of the primitive, such as "log".
        place: file, line and function that called it, and those that called this one.
        scope: modules it belongs to, such as "Network/RNN", where that is known.
        kind: "nan" or "inf".
        cause: where the infinity came from that made this NaN, if one did.
    """

    operation: str
    place: str
    scope: str
    kind: str
    cause: Origin | None = None

    def __str__(self) -> str:
        within = f" within {self.scope}" if self.scope else ""
        told = f"the first {self.kind} is made by `{self.operation}` at {self.place}{within}"
        return told if self.cause is None else f"{told}, from an infinity made by {_short(self.cause)}"


@dataclass(frozen=True)
class _Value:
    """An array and, by "nan" and "inf", where those of its elements were made."""

    array: Any
    origins: tuple[tuple[str, Origin], ...] = ()

    def origin(self, kind: str) -> Origin | None:
        return dict(self.origins).get(kind)


def explain(
    agent: Agent,
    iteration: Callable[[Key, PyTree], tuple[Key, PyTree, tuple[Any, Metrics]]],
    key: Key,
    state: PyTree,
    iterations: int,
) -> str:
    """Say which operation made the first value that is not finite in the losses of a chunk, or in its parameters.

    Args:
        agent: the agent.
        iteration: one iteration of training for all seeds.
        key: the keys before the chunk, `[seeds]`.
        state: the states before the chunk, leaves `[seeds, ...]`.
        iterations: iterations of the chunk.
    """

    def watched(key: Key, state: PyTree) -> tuple[PyTree, Metrics]:
        _, state, (_, metrics) = iteration(key, state)
        return jax.vmap(lambda state: learned_parameters(agent, state))(state), metrics

    advance = jax.jit(iteration)
    look = jax.jit(jax.vmap(lambda state: examine(agent, state)))
    for _ in range(iterations):
        next_key, next_state, (_, metrics) = advance(key, state)
        if findings := find_not_finite(jax.device_get(metrics), jax.device_get(look(next_state))):
            (quantity, *_) = findings[0].quantities
            wanted = f"[1]['{quantity}']"
            if quantity.startswith(PARAMETERS):
                wanted = f"[0]['{quantity.removeprefix(PARAMETERS).strip()}']"
            origins = find_origins(watched, key, state)
            found = [origin for path, origin in origins.items() if path.startswith(wanted)]
            return str(found[0]) if found else f"computed operation by operation, {quantity} is finite"
        key, state = next_key, next_state
    return "computed iteration by iteration, everything is finite"


def find_origins(function: Callable[..., PyTree], *arguments: PyTree) -> dict[str, Origin]:
    """Evaluate a function and find where its results that are not finite were made.

    Args:
        function: function of pytrees of arrays that JAX can trace.
        arguments: its arguments.

    Returns:
        For each leaf of the result that has a NaN or an infinity, by its path as `jax.tree_util.keystr` writes it, the
        origin of the NaN, or else of the infinity.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    values = [_Value(leaf) for leaf in jax.tree.leaves(arguments)]
    results = _evaluate(closed.jaxpr, [_Value(constant) for constant in closed.consts], values)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    origins = {path: value.origin("nan") or value.origin("inf") for path, value in zip(paths, results, strict=True)}
    return {path: origin for path, origin in origins.items() if origin is not None}


def _evaluate(jaxpr: Any, constants: Sequence[_Value], arguments: Sequence[_Value]) -> list[_Value]:
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(atom: Any) -> _Value:
        return _Value(atom.val) if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        outputs = _apply(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, inputs: list[_Value]) -> list[_Value]:
    """Compute an equation; where it makes something that is not finite, find out where within it."""
    parameters = equation.primitive.get_bind_params(equation.params)
    with equation.ctx.manager:
        results = equation.primitive.bind(*(value.array for value in inputs), **parameters)
    results = list(results) if equation.primitive.multiple_results else [results]
    kinds = [_kinds(result) for result in results]
    new = {kind for found in kinds for kind in found if all(value.origin(kind) is None for value in inputs)}
    enter = _entrance(equation)
    if new and enter is not None:
        return enter(inputs)
    return [
        _Value(result, _leaf_origins(equation, found, inputs)) for result, found in zip(results, kinds, strict=True)
    ]


def _leaf_origins(equation: Any, kinds: Sequence[str], inputs: Sequence[_Value]) -> tuple[tuple[str, Origin], ...]:
    origins = []
    for kind in kinds:
        known = next((origin for value in inputs if (origin := value.origin(kind)) is not None), None)
        if known is None:
            infinity = next((origin for value in inputs if (origin := value.origin("inf")) is not None), None)
            known = _origin(equation, kind, infinity if kind == "nan" else None)
        origins.append((kind, known))
    return tuple(origins)


def _origin(equation: Any, kind: str, cause: Origin | None) -> Origin:
    scope = "/".join(part for part in str(equation.source_info.name_stack).split("/") if part)
    return Origin(equation.primitive.name, _place(equation.source_info.traceback), scope, kind, cause)


def _place(traceback: Any) -> str:
    """The innermost lines that are not a library's, of the traceback of an equation."""
    frames = [] if traceback is None else list(traceback.frames)
    own = [frame for frame in frames if not _in_library(frame.file_name)][:CALLERS]
    lines = [f"{frame.file_name}:{frame.line_num} ({frame.function_name})" for frame in own]
    return ", called from ".join(lines) or "an unknown line"


def _in_library(file: str) -> bool:
    parts = Path(file).parts
    return any(name in parts[:-1] for name in LIBRARIES) and "site-packages" in parts


def _short(origin: Origin) -> str:
    return f"`{origin.operation}` at {origin.place}"


def _kinds(array: Any) -> list[str]:
    """Which of "nan" and "inf" an array has."""
    if not jax.dtypes.issubdtype(array.dtype, np.inexact):
        return []
    values = np.asarray(array)
    return [kind for kind, has in (("nan", np.isnan), ("inf", np.isinf)) if has(values).any()]


def _entrance(equation: Any) -> Callable[[list[_Value]], list[_Value]] | None:
    """What evaluates the equations within an equation, where it has some."""
    name, parameters = equation.primitive.name, equation.params
    if name == "scan":
        return lambda inputs: _scan(parameters, inputs)
    if name == "while":
        return lambda inputs: _while(parameters, inputs)
    if name == "cond":
        return lambda inputs: _inner(parameters["branches"][int(inputs[0].array)], inputs[1:])
    for inner in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if isinstance(parameters.get(inner), core.ClosedJaxpr | core.Jaxpr):
            return lambda inputs: _inner(parameters[inner], inputs)
    return None


def _inner(jaxpr: Any, inputs: Sequence[_Value]) -> list[_Value]:
    if isinstance(jaxpr, core.ClosedJaxpr):
        return _evaluate(jaxpr.jaxpr, [_Value(constant) for constant in jaxpr.consts], inputs)
    return _evaluate(jaxpr, (), inputs)


def _stepper(jaxpr: Any) -> Callable[[Sequence[_Value]], list[_Value]]:
    """Evaluates the body of a loop: compiled, and equation by equation where something new is not finite."""
    compiled = jax.jit(core.jaxpr_as_fun(jaxpr))

    def step(inputs: Sequence[_Value]) -> list[_Value]:
        results = compiled(*(value.array for value in inputs))
        kinds = [_kinds(result) for result in results]
        origins = {
            kind: next((origin for value in inputs if (origin := value.origin(kind)) is not None), None)
            for kind in ("nan", "inf")
        }
        if any(origins[kind] is None for found in kinds for kind in found):
            return _inner(jaxpr, inputs)
        return [
            _Value(result, tuple((kind, origin) for kind in found if (origin := origins[kind]) is not None))
            for result, found in zip(results, kinds, strict=True)
        ]

    return step


def _scan(parameters: dict[str, Any], inputs: list[_Value]) -> list[_Value]:
    fixed, carry, sequences = scan_inputs(parameters, inputs)
    step = _stepper(parameters["jaxpr"])
    length, carries = parameters["length"], len(carry)
    order = range(length - 1, -1, -1) if parameters["reverse"] else range(length)
    stacked: dict[int, list[_Value]] = {}
    for time in order:
        slices = [_slice(value, time) for value in sequences]
        results = step([*fixed, *carry, *slices])
        carry, stacked[time] = results[:carries], results[carries:]
    return [*carry, *(_stack([stacked[time][i] for time in range(length)]) for i in range(len(stacked[0])))]


def _slice(value: _Value, time: int) -> _Value:
    array = value.array[time]
    kinds = _kinds(array) if value.origins else []
    return _Value(array, tuple((kind, origin) for kind, origin in value.origins if kind in kinds))


def _stack(values: Sequence[_Value]) -> _Value:
    """Values of each step together; where they came from is that of the first step that has one."""
    array = jax.numpy.stack([value.array for value in values])
    found: dict[str, Origin] = {}
    for value in values:
        for kind, origin in value.origins:
            found.setdefault(kind, origin)
    return _Value(array, tuple(found.items()))


def _while(parameters: dict[str, Any], inputs: list[_Value]) -> list[_Value]:
    tested, used = parameters["cond_nconsts"], parameters["body_nconsts"]
    condition = jax.jit(core.jaxpr_as_fun(parameters["cond_jaxpr"]))
    step = _stepper(parameters["body_jaxpr"])
    condition_constants, constants, carry = inputs[:tested], inputs[tested : tested + used], inputs[tested + used :]
    while np.all(condition(*(value.array for value in (*condition_constants, *carry)))[0]):
        carry = step([*constants, *carry])
    return carry
