"""Conversion between the spaces of the `gymnasium` package, which all host suites use, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from gymnasium import spaces as gymnasium_spaces

from memorax.environments.adaptation import convert_bound
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.types import PyTree


def convert(space: Any, name: str) -> Space:
    """Our space for one of gymnasium's: integers start at 0, a tuple becomes a dictionary by position.

    Args:
        space: the space.
        name: name of the environment, for the message.

    Raises:
        ValueError: if there is no such space here.
    """
    match space:
        case gymnasium_spaces.Discrete():
            return Discrete(int(space.n))
        case gymnasium_spaces.MultiDiscrete():
            return MultiDiscrete(tuple(int(n) for n in space.nvec.ravel()))
        case gymnasium_spaces.MultiBinary():
            return MultiDiscrete((2,) * int(np.prod(space.shape)))
        case gymnasium_spaces.Box():
            dtype = _dtype(space)
            return Box(_bound(space.low, dtype), _bound(space.high, dtype), tuple(space.shape), dtype)
        case gymnasium_spaces.Dict() | gymnasium_spaces.Tuple():
            parts = {own: convert(inner, name) for own, _, inner in _parts(space)}
            if len(parts) < len(space.spaces):
                raise ValueError(f"{name} has a space with names that are the same as text: {list(space.spaces)}")
            return Dict(parts)
    raise ValueError(
        f"{name} has a space that is not supported: {type(space).__name__} (valid: Discrete, MultiDiscrete, "
        "MultiBinary, Box, and Dict or Tuple of these)"
    )


def to_ours(space: Any, value: Any) -> PyTree:
    """An element of a space of gymnasium's, or a batch of them, as one of ours: NumPy arrays.

    Raises:
        ValueError: if an element lacks a part of its space.
    """
    match space:
        case gymnasium_spaces.Discrete():
            return np.asarray(value - space.start, np.int32)
        case gymnasium_spaces.MultiDiscrete():
            return _flat(np.asarray(value) - space.start, space.shape)
        case gymnasium_spaces.MultiBinary():
            return _flat(np.asarray(value), space.shape)
        case gymnasium_spaces.Box():
            return np.asarray(value, _dtype(space))
        case _:
            return {own: to_ours(inner, _part(value, key)) for own, key, inner in _parts(space)}


def to_gymnasium(space: Any, value: PyTree) -> Any:
    """The inverse of `to_ours`, in the types of gymnasium's space."""
    match space:
        case gymnasium_spaces.Discrete():
            return np.asarray(value + space.start, space.dtype)[()]
        case gymnasium_spaces.MultiDiscrete():
            return (_unflat(value, space.shape) + space.start).astype(space.dtype)
        case gymnasium_spaces.MultiBinary():
            return _unflat(value, space.shape).astype(space.dtype)
        case gymnasium_spaces.Box():
            rounded = np.issubdtype(space.dtype, np.integer) and np.issubdtype(np.asarray(value).dtype, np.floating)
            if rounded:
                return _whole_numbers(space, value)
            # A bound of 64 bits may lie between two numbers of 32.
            return np.clip(np.asarray(value, space.dtype), space.low, space.high)
        case gymnasium_spaces.Dict():
            return {key: to_gymnasium(inner, value[own]) for own, key, inner in _parts(space)}
        case _:
            return tuple(to_gymnasium(inner, value[own]) for own, _, inner in _parts(space))


def _parts(space: Any) -> list[tuple[str, Any, Any]]:
    """Of all that is inside a `Dict` or `Tuple` our name, which is text, the key or index there, and the space."""
    inner = space.spaces.items() if isinstance(space, gymnasium_spaces.Dict) else enumerate(space.spaces)
    return [(str(key), key, part) for key, part in inner]


def _part(value: Any, key: Any) -> Any:
    """The part of an element that stands under a key or index."""
    try:
        return value[key]
    except (KeyError, IndexError, TypeError) as error:
        held = list(value) if isinstance(value, Mapping) else type(value).__name__
        raise ValueError(f"an element of a space lacks its part {key!r}: it holds {held}") from error


def _dtype(space: gymnasium_spaces.Box) -> np.dtype[Any]:
    """JAX's type for the numbers of a box: float32 for integers that may be too large for its integers of 32 bits."""
    dtype = jax.dtypes.canonicalize_dtype(space.dtype)
    if dtype == space.dtype or not np.issubdtype(dtype, np.integer) or not space.low.size:
        return dtype
    limits = np.iinfo(dtype)
    fits = limits.min <= space.low.min() and space.high.max() <= limits.max
    return dtype if fits else np.dtype(np.float32)


def _bound(bound: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """A bound in another type: of floats infinite where it does not fit, or is only the limit of its own type."""
    converted = convert_bound(bound, dtype)
    if not np.issubdtype(bound.dtype, np.integer) or np.issubdtype(dtype, np.integer):
        return converted
    limits = np.iinfo(bound.dtype)
    unknown = (bound == limits.max) | ((bound == limits.min) & (limits.min < 0))
    return np.where(unknown, np.copysign(np.inf, converted), converted).astype(dtype)


def _whole_numbers(space: gymnasium_spaces.Box, value: np.ndarray) -> np.ndarray:
    """The integers of a box that are nearest to some floating-point numbers."""
    limits = np.iinfo(space.dtype)
    # A float64 of the largest integer of 64 bits is one more than it, which does not fit.
    largest = np.float64(limits.max)
    largest = np.nextafter(largest, 0) if int(largest) > limits.max else largest
    whole = np.clip(np.rint(np.asarray(value, np.float64)), limits.min, largest).astype(space.dtype)
    return np.clip(whole, space.low, space.high)


def _flat(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`[..., *shape]` as int32 `[..., N]`."""
    return value.reshape(*value.shape[: value.ndim - len(shape)], -1).astype(np.int32)


def _unflat(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`[..., N]` as `[..., *shape]`."""
    return value.reshape(*value.shape[:-1], *shape)
