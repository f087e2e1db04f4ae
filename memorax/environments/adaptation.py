"""What the adapters of other packages share: the settings that code runs under, and conversions of spaces and types."""

from __future__ import annotations

import dataclasses
import numbers
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space, in_type
from memorax.types import Array, Key, PyTree

NO_TIME_LIMIT = int(np.iinfo(np.int32).max)


class StepLimit(struct.PyTreeNode):
    """Parameters of an environment that has none but a time limit.

    Attributes:
        max_steps: steps after which an episode is truncated.
    """

    max_steps: Any


class Timed(struct.PyTreeNode):
    """The state of an environment that does not count its steps, and that count.

    Attributes:
        state: the state of the environment.
        steps: steps taken in this episode.
    """

    state: PyTree
    steps: Array


@contextmanager
def as_written() -> Iterator[None]:
    """Run another package's code under the settings it was written for, whatever those of the user are.

    Some add arrays of different rank, ask for 64-bit integers where JAX has 32, write integers into boolean arrays or
    call what is deprecated. None of it changes a result, and of what they warn the user can mend nothing.
    """
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def standing_in(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Let imports find `modules` by their names, in place of any that are there."""
    there = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(there)


def raw_key(key: Key) -> Array:
    """The key in the old style, as packages expect it that keep it in their state; the draws are the same."""
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def strong(state: PyTree) -> PyTree:
    """Python numbers in a first state as arrays with a type of their own: one compilation for every later call."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)


def like(state: PyTree, new: PyTree) -> PyTree:
    """The state after a step, in the types of the state before."""
    return jax.tree.map(lambda old, leaf: jnp.asarray(leaf, jnp.result_type(old)), state, new)


def replace_fields(name: str, params: PyTree, fields: Mapping[str, Any]) -> PyTree:
    """`params`, a dataclass, with some of its fields replaced.

    Raises:
        ValueError: if a field is given something that is no number.
    """
    for field, value in fields.items():
        if not isinstance(value, numbers.Number | np.ndarray | jax.Array):
            raise ValueError(f"{field} ({value!r}) of {name} must be a number or an array")
    return dataclasses.replace(params, **fields)


def positive(name: str, option: str, value: Any) -> int:
    """`value`, a number of steps.

    Raises:
        ValueError: if it is no integer from 1 up.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{option} ({value!r}) of {name} must be a number of steps, at least 1")
    return int(value)


def convert_space(space: Any, name: str) -> Space:
    """Our space for one in the form that gymnax gave its spaces, and that several packages copied.

    Raises:
        ValueError: if it is of a kind we do not have.
    """
    # Bounds are values, also where a space is asked for while something is being compiled.
    with jax.ensure_compile_time_eval():
        match type(space).__name__:
            case "Discrete":
                return Discrete(int(space.n))
            case "MultiDiscrete":
                return MultiDiscrete(tuple(int(n) for n in np.asarray(space.num_categories)))
            case "Box":
                dtype = jax.dtypes.canonicalize_dtype(space.dtype)
                shape = tuple(int(n) for n in np.atleast_1d(space.shape))  # a number where an axis is alone, in Hanabi
                return Box(convert_bound(space.low, dtype), convert_bound(space.high, dtype), shape, dtype)
            case "Dict" | "dict":
                parts = space if isinstance(space, dict) else space.spaces
                return Dict({key: convert_space(inner, name) for key, inner in parts.items()})
    raise ValueError(f"{name} has a space that is not supported: {type(space).__name__}")


def space_of_shapes(observation: PyTree) -> Space:
    """The space of unbounded numbers for an array, or a mapping of them, known by shape and type."""
    if isinstance(observation, Mapping):
        return Dict({name: space_of_shapes(inner) for name, inner in observation.items()})
    return Box(-np.inf, np.inf, tuple(observation.shape), observation.dtype)


def convert_bound(bound: Any, dtype: Any) -> np.ndarray:
    """A bound of a box of another package in the type of ours.

    Some write the largest float where they mean unbounded, and jaxmarl more than a byte holds.
    """
    bound = in_type(np.asarray(bound), dtype)
    if not np.issubdtype(dtype, np.floating):
        return bound
    return np.where(np.abs(bound) >= np.finfo(dtype).max, np.copysign(np.inf, bound), bound).astype(dtype)


def cast(space: Space, observation: PyTree) -> PyTree:
    """The observation in the types of its space: some environments return others than they declare."""
    if isinstance(space, Dict):
        return {name: cast(inner, observation[name]) for name, inner in space.spaces.items()}
    return jnp.asarray(observation, space.dtype)
