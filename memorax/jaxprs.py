"""What the equations of traced programs say, in the versions of JAX that we support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Value = TypeVar("Value")


def scan_inputs(parameters: Mapping[str, Any], inputs: Sequence[Value]) -> tuple[list[Value], list[Value], list[Value]]:
    """The inputs of an equation of `jax.lax.scan` by what they are.

    Args:
        parameters: the equation's parameters.
        inputs: a value for each of its inputs.

    Returns:
        `(constants, carried, sequences)`.
    """
    if "num_consts" in parameters:
        constants, carried = parameters["num_consts"], parameters["num_carry"]
    else:  # from JAX 0.11 on
        constants, carried, _ = map(len, parameters["ft_in"].unpack())
    return list(inputs[:constants]), list(inputs[constants : constants + carried]), list(inputs[constants + carried :])
