"""Spaces: what observations and actions may be."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Array, Key, PyTree
from memorax.validation import whole_number


class Space(abc.ABC):
    """A set of values with a shape and a type."""

    shape: tuple[int, ...]
    dtype: Any

    @abc.abstractmethod
    def sample(self, key: Key) -> PyTree:
        """Draw one element uniformly (unbounded sides of a `Box` are drawn from a unit interval)."""

    @abc.abstractmethod
    def contains(self, value: PyTree) -> Array:
        """Whether `value` (one element, no batch axes) lies in the space: a bool scalar."""


@dataclass(frozen=True)
class Discrete(Space):
    """The integers `0 .. n - 1`."""

    n: int
    dtype: Any = jnp.int32

    def __post_init__(self) -> None:
        if whole_number("Discrete n", self.n) < 1:
            raise ValueError(f"Discrete n ({self.n}) must be at least 1")
        _require_room("Discrete n", self.n, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return ()

    def sample(self, key: Key) -> Array:
        return jax.random.randint(key, (), 0, self.n, self.dtype)

    def contains(self, value: PyTree) -> Array:
        return jnp.all((value >= 0) & (value < self.n)) & (jnp.shape(value) == ())


@dataclass(frozen=True)
class MultiDiscrete(Space):
    """Several integers side by side, the i-th in `0 .. nvec[i] - 1`."""

    nvec: tuple[int, ...]
    dtype: Any = jnp.int32

    def __post_init__(self) -> None:
        if not self.nvec or min(whole_number("MultiDiscrete nvec", size) for size in self.nvec) < 1:
            raise ValueError(f"MultiDiscrete nvec ({self.nvec}) must name at least one size, each at least 1")
        _require_room("MultiDiscrete nvec", max(self.nvec), self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.nvec),)

    def sample(self, key: Key) -> Array:
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.nvec), self.dtype)

    def contains(self, value: PyTree) -> Array:
        if jnp.shape(value) != self.shape:
            return jnp.asarray(False)
        return jnp.all((value >= 0) & (value < jnp.asarray(self.nvec)))


def _require_room(name: str, n: int, dtype: Any) -> None:
    """Raise a `ValueError` where a type cannot hold the numbers below `n`: they would wrap around."""
    kind = np.dtype(dtype)
    sizes = 2 if kind.kind == "b" else np.iinfo(kind).max + 1 if np.issubdtype(kind, np.integer) else n
    if n > sizes:
        raise ValueError(f"{name} ({n}) must be at most {sizes}, as its type, {kind.name}, holds no more")


@dataclass(frozen=True, eq=False)
class Box(Space):
    """Arrays between `low` and `high` (scalars or arrays of `shape`, infinite where unbounded).

    Bounds that the type cannot hold are those of the type: infinite ones of integers, 256 of bytes.
    """

    low: Any
    high: Any
    shape: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple | list):
            raise ValueError(f"Box shape ({self.shape!r}) must be a tuple of sizes, such as (3,)")
        if any(isinstance(bound, jax.core.Tracer) for bound in (self.low, self.high)):
            return
        for name, bound in (("low", self.low), ("high", self.high)):
            size = np.shape(bound)
            fits = all(own in (1, whole) for own, whole in zip(size[::-1], self.shape[::-1], strict=False))
            if len(size) > len(self.shape) or not fits:
                raise ValueError(f"Box {name} {list(size)} must be one number or have the shape {list(self.shape)}")
        low, high = (np.broadcast_to(np.asarray(bound), self.shape) for bound in (self.low, self.high))
        if not np.all(low <= high):
            raise ValueError(f"Box low ({self.low}) must be at most high ({self.high}), everywhere")

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = (in_type(np.asarray(bound), self.dtype) for bound in (self.low, self.high))
        return np.broadcast_to(low, self.shape), np.broadcast_to(high, self.shape)

    @property
    def bounded(self) -> bool:
        """Whether every element has finite bounds on both sides."""
        low, high = self._bounds()
        return bool(np.isfinite(low).all() and np.isfinite(high).all())

    def sample(self, key: Key) -> Array:
        low, high = self._bounds()
        if not jnp.issubdtype(self.dtype, jnp.floating):
            return _integers_between(key, low, high)
        floor = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 1, 0)).astype(self.dtype)
        ceiling = np.where(np.isfinite(high), high, floor + 1).astype(self.dtype)
        fraction = jax.random.uniform(key, self.shape, self.dtype)
        # Not floor + fraction * (ceiling - floor): the difference of bounds near the limits of the type overflows.
        return jnp.clip(floor * (1 - fraction) + ceiling * fraction, floor, ceiling)

    def contains(self, value: PyTree) -> Array:
        if jnp.shape(value) != self.shape:
            return jnp.asarray(False)
        low, high = self._bounds()
        return jnp.all((value >= low) & (value <= high))

    def clip(self, value: Array) -> Array:
        """Move `value` (`[..., *shape]`) to the nearest element."""
        low, high = self._bounds()
        lead = (1,) * (jnp.ndim(value) - len(self.shape))
        return jnp.clip(value, low.reshape(lead + self.shape), high.reshape(lead + self.shape))


def in_type(bound: np.ndarray, dtype: Any) -> np.ndarray:
    """A bound in the type of a box; the limit of the type where it does not fit."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        # What equals a limit is not converted: as a float, the largest integer is one more than it and does not fit.
        at_limit = np.where(bound >= limits.max, limits.max, limits.min).astype(dtype)
        inside = (bound > limits.min) & (bound < limits.max)
        return np.where(inside, np.where(inside, bound, 0).astype(dtype), at_limit)
    with np.errstate(over="ignore"):
        return bound.astype(dtype)


def _integers_between(key: Key, low: np.ndarray, high: np.ndarray) -> Array:
    """Integers, or bools, from `low` to `high`, both included, each as likely as any other."""
    unsigned = jnp.uint64 if low.dtype.itemsize == 8 else jnp.uint32
    first = low.astype(unsigned)  # arithmetic of the unsigned type wraps around, so that no range is too wide
    span = high.astype(unsigned) - first
    every = span == np.iinfo(unsigned).max
    drawn = jax.random.randint(key, low.shape, 0, np.where(every, 1, span + ~every), unsigned)
    if every.any():
        drawn = jnp.where(every, jax.random.bits(key, low.shape, unsigned), drawn)
    return (drawn + first).astype(low.dtype)


@dataclass(frozen=True, eq=False)
class Dict(Space):
    """A dictionary of spaces by name; elements are dictionaries with the same keys."""

    spaces: Mapping[str, Space]
    dtype: Any = None

    def __post_init__(self) -> None:
        for name in self.spaces:
            if not isinstance(name, str):
                raise ValueError(f"Dict spaces are named by text: {name!r} must be {str(name)!r}")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        raise ValueError("a Dict space has no single shape: read the shapes of its `spaces`")

    def sample(self, key: Key) -> dict[str, PyTree]:
        keys = jax.random.split(key, len(self.spaces))
        return {name: space.sample(k) for (name, space), k in zip(self.spaces.items(), keys, strict=True)}

    def contains(self, value: PyTree) -> Array:
        if set(value) != set(self.spaces):
            return jnp.asarray(False)
        return jnp.all(jnp.stack([space.contains(value[name]) for name, space in self.spaces.items()]))


def action_mask_space(action_space: Space) -> Box:
    """The space of masks of legal actions, bool `[n]`.

    For `Discrete(n)` entry `i` says whether action `i` is legal; for `MultiDiscrete` the masks of its choices follow
    one another, `n = sum(nvec)`.

    Raises:
        ValueError: if actions are neither.
    """
    match action_space:
        case Discrete(n=n):
            return Box(0, 1, (n,), bool)
        case MultiDiscrete(nvec=nvec):
            return Box(0, 1, (sum(nvec),), bool)
    raise ValueError(f"action_space ({type(action_space).__name__}) must be Discrete or MultiDiscrete to have a mask")


def policy_space(space: Space) -> Space:
    """The space a policy chooses from, in which actions are learned from, stored and fed back.

    Numbers that are bounded on both sides are in units of half their range, `-1 ... 1`, wherever the environment's own
    bounds lie. Those that are bounded on one side are moved, so that the bound is -1 below or 1 above: a policy starts
    around 0. All others are as the environment has them. Types are int32 and float32.
    """
    match space:
        case Box():
            low, high = _float_bounds(space)
            return Box(np.where(np.isfinite(low), -1.0, low), np.where(np.isfinite(high), 1.0, high), space.shape)
        case Discrete():
            return Discrete(space.n)
        case MultiDiscrete():
            return MultiDiscrete(tuple(space.nvec))
        case _:
            return space


def environment_action(space: Space, action: PyTree) -> PyTree:
    """What an environment is given for an action a policy chose.

    Args:
        space: the environment's action space.
        action: an element of `policy_space(space)`, `[..., *shape]`; outside of its bounds the nearest one is meant.

    Returns:
        An element of `space`, in its type. Integers and bools are rounded.
    """
    if not isinstance(space, Box):
        return jax.tree.map(lambda x: x.astype(space.dtype), action)
    low, high = _float_bounds(space)
    chosen = policy_space(space).clip(action)  # type: ignore[attr-defined]
    below, above = np.isfinite(low), np.isfinite(high)
    scaled = below & above & ((low != -1) | (high != 1))
    moved = np.where(below & ~above, low + 1, np.where(above & ~below, high - 1, 0.0))
    low, high = np.where(scaled, low, -1.0), np.where(scaled, high, 1.0)
    lead = (1,) * (jnp.ndim(action) - len(space.shape))
    low, high, scaled, moved = (x.reshape(lead + space.shape) for x in (low, high, scaled, moved))
    weight = 0.5 + 0.5 * chosen
    chosen = jnp.where(scaled, (1.0 - weight) * low + weight * high, chosen + moved)
    if not jnp.issubdtype(space.dtype, jnp.floating):
        chosen = jnp.round(chosen)
    # In the type of the space: the weights of bounds that are equal add up to one only but for rounding, and not every
    # large integer is a float32.
    return space.clip(chosen.astype(space.dtype))


def _float_bounds(space: Box) -> tuple[np.ndarray, np.ndarray]:
    low = np.broadcast_to(np.asarray(space.low, np.float32), space.shape)
    return low, np.broadcast_to(np.asarray(space.high, np.float32), space.shape)
