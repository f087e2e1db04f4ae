"""Policies as ONNX."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from memorax.deployment.acting import AgentProgram
from memorax.deployment.exported import require
from memorax.deployment.onnx_graph import VARIABLE, Graph, Tensor
from memorax.deployment.onnx_operations import stored, taken
from memorax.deployment.onnx_translation import Untranslated, translate
from memorax.training.checkpoints import named_leaves
from memorax.types import PyTree

NEXT = "next."
"""What the names of outputs start with that are carried to the next step."""


def onnx_model(program: AgentProgram) -> Any:
    """The greedy policy as a model of ONNX, for any number of rows, its parameters within.

    Inputs are `observation` (or `observation.NAME` for each part of a dictionary), `done` bool, `previous_reward`
    float32 and `carry.NAME` for each part of the carry; outputs are `action` and `next.carry.NAME`. All lead with the
    axis of rows. A complex carry has a last axis of real and imaginary part.

    Raises:
        NotImplementedError: naming the operation, if one has no counterpart in ONNX.
        ImportError: if the package is missing, naming the command that installs it.
    """
    require("onnx", "onnx")
    (environments,) = require("jax.export").symbolic_shape(VARIABLE)
    rows = environments * program.num_agents
    _, *shapes = program.step_shapes(rows)
    inputs = _inputs(*shapes)

    step = functools.partial(program.acting.step, program.params)
    closed = jax.make_jaxpr(step)(*shapes)
    (action, carry), leaves = jax.eval_shape(step, *shapes), jax.tree.leaves(shapes)
    graph = Graph(Tensor("done"), program.num_agents)
    values = [
        taken(graph, Tensor(name), np.issubdtype(leaf.dtype, np.complexfloating))
        for name, leaf in zip(inputs, leaves, strict=True)
    ]
    results = translate(graph, closed.jaxpr, closed.consts, values)
    outputs = {"action": action, **{f"{NEXT}carry.{name}": leaf for name, leaf in sorted(carry.items())}}
    for name, result in zip(outputs, results, strict=True):
        if isinstance(result, Untranslated):
            raise NotImplementedError(f"{name} depends on {result.operation}, which is not translated to ONNX")
    return graph.model(
        {name: _real(leaf) for name, leaf in inputs.items()},
        {
            name: (stored(graph, result), _real(leaf))
            for (name, leaf), result in zip(outputs.items(), results, strict=True)
        },
    )


def _inputs(observation: PyTree, carry: Any, done: Any, reward: Any) -> dict[str, Any]:
    """The inputs by name, in the order of the leaves."""
    seen = {f"observation.{name}" if name else "observation": leaf for name, leaf in named_leaves(observation)}
    carried = {f"carry.{name}": carry[name] for name in sorted(carry)}
    return {**seen, **carried, "done": done, "previous_reward": reward}


def _real(leaf: Any) -> tuple[Any, tuple[Any, ...]]:
    """The dtype and the sizes of an array as it is stored."""
    if np.issubdtype(leaf.dtype, np.complexfloating):
        return np.float32, (*leaf.shape, 2)
    return leaf.dtype, leaf.shape
