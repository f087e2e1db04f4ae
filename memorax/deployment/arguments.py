"""Checks of what a policy is given, before anything is computed; an error is one line.

While JAX traces a function, shapes and types of arrays are known and values are not: these are checked outside alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Dict, Discrete, MultiDiscrete, Space
from memorax.types import PyTree
from memorax.validation import described

NumbersOrBools = (np.integer, np.floating, np.bool_)
"""Kinds of what an environment shows, takes and pays; JAX knows of floats that NumPy does not."""


def as_array(name: str, value: Any, wanted: str) -> Any:
    """A value as an array of numbers or bools; arrays of JAX stay as they are, since they may be traced.

    Args:
        name: what it is, for messages.
        value: the value.
        wanted: what it must be, for messages.

    Raises:
        ValueError: if it is something else, as text or lists of several lengths are.
    """
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
    except (TypeError, ValueError):
        array = None
    if array is None or not any(jnp.issubdtype(array.dtype, kind) for kind in NumbersOrBools):
        raise ValueError(f"{name} ({described(value)}) must be {wanted}")
    return array


def checked(space: Space, value: Any, lead: tuple[int, ...], name: str = "observation") -> PyTree:
    """An element of a space, or a batch of them, as arrays in the types of the space.

    Args:
        space: the space.
        value: the element, `[*lead, ...]`.
        lead: the axes before those of one element.
        name: what it is, for messages.

    Raises:
        ValueError: if its structure or shape is another, or its type cannot hold its values, or a symbol
            lies outside of the space.
    """
    if isinstance(space, Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            found = ", ".join(map(str, value)) if isinstance(value, Mapping) else described(value)
            raise ValueError(f"{name} ({found}) must be a dictionary of {', '.join(space.spaces)}")
        return {key: checked(inner, value[key], lead, f"{name}[{key!r}]") for key, inner in space.spaces.items()}
    shape = (*lead, *space.shape)
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, value))
        raise ValueError(f"{name} must be an array {list(shape)}, and not a dictionary of {keys}")
    given = as_array(name, value, f"an array {list(shape)} of numbers")
    if given.shape != shape:
        raise ValueError(f"{name} {list(given.shape)} must have the shape {list(shape)}")
    if isinstance(given, jax.core.Tracer):
        return _traced_in_type(space, given, name)
    array = _in_type(space, given, name)
    if isinstance(space, Discrete | MultiDiscrete):
        _require_symbols(space, np.asarray(array), name)
    return array


def _in_type(space: Space, given: Any, name: str) -> Any:
    """An array in the type of a space, on the device if it is there in that type."""
    if given.dtype == space.dtype:
        return given
    given = np.asarray(given)
    # Rounding is fine, as from float64 to float32. A whole number that loses its fraction says something else.
    with np.errstate(invalid="ignore"):
        array = given.astype(space.dtype)
    if not jnp.issubdtype(array.dtype, np.floating) and not np.array_equal(array, given):
        raise ValueError(f"{name} has values that {array.dtype} cannot hold: it must be an element of {space}")
    return array


def _traced_in_type(space: Space, given: jax.Array, name: str) -> jax.Array:
    """An array whose values are not known in the type of a space, where that holds all values of the array's type."""
    dtype = jax.dtypes.canonicalize_dtype(space.dtype)
    if not jnp.issubdtype(dtype, np.floating) and not np.can_cast(given.dtype, dtype, "same_kind"):
        raise ValueError(f"{name} ({described(given)}) must be of the type {dtype}: convert it before the step")
    return given.astype(dtype)


def _require_symbols(space: Discrete | MultiDiscrete, array: np.ndarray, name: str) -> None:
    sizes = space.n if isinstance(space, Discrete) else np.asarray(space.nvec)
    outside = (array < 0) | (array >= sizes)
    if np.any(outside):
        raise ValueError(f"{name} ({array[outside][0]}) must be an element of {space}")


def checked_done(done: Any, num_agents: int) -> Any:
    """Whether each observation is the first of an episode, bool `[B]`, which says how many rows there are.

    Raises:
        ValueError: if it is of another kind or shape, or rows do not belong to whole environments.
    """
    wanted = "bool [rows], whether each observation is the first of an episode"
    array = as_array("done", done, wanted)
    if array.dtype != np.bool_ or array.ndim != 1:
        raise ValueError(f"done ({described(array)}) must be {wanted}")
    if array.shape[0] % num_agents:
        raise ValueError(f"done ({described(array)}) must have {num_agents} rows, one per agent, for each environment")
    return array


def checked_reward(reward: Any, rows: int) -> Any:
    """The reward of the step before as the environment paid it, float32 `[B]`; of one value it is that of all rows.

    Raises:
        ValueError: if it is of another kind or shape.
    """
    wanted = f"one number or an array [{rows}] of numbers"
    array = as_array("previous_reward", reward, wanted)
    if array.shape not in ((), (rows,)):
        raise ValueError(f"previous_reward ({described(array)}) must be {wanted}")
    array = array.astype(np.float32)
    return array if array.shape else jnp.broadcast_to(array, (rows,))


def require_arrays(name: str, given: Any, wanted: Mapping[str, Any], remedy: str) -> None:
    """Check that arrays by name are of the shapes and types they should be.

    Args:
        name: what they are, for messages.
        given: the arrays.
        wanted: arrays of these shapes and types, or descriptions of them, by name.
        remedy: where to take them from, for messages.

    Raises:
        ValueError: naming the first that is not.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} ({described(given)}) must be a dictionary of arrays: {remedy}")
    for key in sorted({*map(str, given), *wanted}):
        if key not in wanted:
            raise ValueError(f"{name} must not hold {key!r}: {remedy}")
        expected, found = described(wanted[key]), "nothing"
        if key in given:
            array = given[key] if hasattr(given[key], "dtype") else as_array(f"{name}[{key!r}]", given[key], expected)
            # JAX takes 64 bits as 32 where it is not told otherwise.
            if array.shape == wanted[key].shape and jax.dtypes.canonicalize_dtype(array.dtype) == wanted[key].dtype:
                continue
            found = described(array)
        raise ValueError(f"{name}[{key!r}] ({found}) must be {expected}: {remedy}")


def require_random_key(key: Any) -> None:
    """Raise a `ValueError` where a key to sample with is none, or holds several."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", ())
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    # Keys of the old style are arrays of words.
    if dtype is None or len(shape) != (0 if typed else 1) or not (typed or dtype == np.uint32):
        raise ValueError(f"key ({described(key)}) must be one random key, such as jax.random.key(0)")
