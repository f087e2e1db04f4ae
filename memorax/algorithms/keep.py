"""What `train` keeps of each iteration, and which functions that say so do the same: none is compiled twice."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Metrics, PyTree, Transition

Keep = Callable[[Transition, Metrics], PyTree]
"""What `train` keeps of an iteration, given its transitions `[B, T, ...]` and its scalar metrics."""

COMPILED_AGAIN = (
    "train is compiled again for each new keep function: define keep once, outside of the loop, and let it read "
    "nothing that changes"
)

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
"""Types of values that cannot change in place, and are the same where they are equal."""

OF_JAX = (type(jax.jit(abs)), jax.custom_jvp, jax.custom_vjp, jnp.ufunc)
FUNCTIONS = (types.BuiltinFunctionType, np.ufunc, type(np.where), *OF_JAX)
"""Types of functions that are no functions of Python."""

FIXED = (types.ModuleType, types.FunctionType, type, jax.Array, *FUNCTIONS)
"""Types of values that cannot change in place, or whose parts are looked at as well."""

Meaning = dict[str, Any]
"""What the names in a function's code stand for."""


class KeepFunctions:
    """The functions that an agent was given as `keep`, with what they meant, by their code."""

    def __init__(self) -> None:
        self._given: dict[Any, dict[Keep, Meaning | None]] = {}

    def compiled_before(self, keep: Keep) -> Keep:
        """The function in place of which `keep` may stand: one that does the same, as a loop makes of a lambda.

        Warns where code that was given before may mean something else now: it is compiled again.
        """
        before = self._given.setdefault(_code_of(keep), {})
        if keep in before:
            return keep
        meaning = _meaning(keep)
        for other, its in before.items():
            if meaning is not None and its is not None and _same(meaning, its):
                return other
        if before:
            warnings.warn(COMPILED_AGAIN, stacklevel=4)
        before[keep] = meaning
        return keep


def _code_of(keep: Any) -> Any:
    """What functions that were made by the same line have in common."""
    match keep:
        case types.FunctionType():
            return keep.__code__
        case types.MethodType():
            return _code_of(keep.__func__)
        case functools.partial():
            return functools.partial, _code_of(keep.func)
    return type(keep)


def _meaning(keep: Any) -> Meaning | None:
    """What is read by a function; nothing where that may change unseen, as variables around it and lists may."""
    if not isinstance(keep, types.FunctionType) or keep.__closure__ or keep.__defaults__ or keep.__kwdefaults__:
        return None
    meaning: Meaning = {}
    left: list[tuple[str, types.FunctionType]] = [("", keep)]
    while left:
        place, function = left.pop()
        for name, value in _read_by(function).items():
            if not isinstance(value, (*PLAIN, *FIXED)):
                return None
            where = f"{place}{name}"
            if isinstance(value, types.FunctionType) and value.__globals__ is keep.__globals__ and name not in place:
                # A function of the same file may read what changes. Those of packages do not.
                if value.__closure__:
                    return None
                left.append((f"{where}/", value))
            meaning[where] = value
    return meaning


def _read_by(function: types.FunctionType) -> dict[str, Any]:
    """The global variables that a function's code names, and code inside it; of modules what it names of them."""
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    read = {name: function.__globals__[name] for name in names if name in function.__globals__}
    modules = [(name, value) for name, value in read.items() if isinstance(value, types.ModuleType)]
    while modules:
        place, module = modules.pop()
        for name in names & vars(module).keys():
            value, where = vars(module)[name], f"{place}.{name}"
            if isinstance(value, types.ModuleType) and name not in place.split("."):
                modules.append((where, value))
            read[where] = value
    return read


def _same(one: Meaning, other: Meaning) -> bool:
    if one.keys() != other.keys():
        return False
    pairs = [(value, other[name]) for name, value in one.items()]
    return all(a is b or (isinstance(a, PLAIN) and type(a) is type(b) and a == b) for a, b in pairs)
