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
        if self.n < 1:
            raise ValueError(f"Discrete n ({self.n}) must be at least 1")

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
        if not self.nvec or min(self.nvec) < 1:
            raise ValueError(f"MultiDiscrete nvec ({self.nvec}) must name at least one size, each at least 1")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.nvec),)

    def sample(self, key: Key) -> Array:
        return jax.random.randint(key, self.shape, 0, jnp.asarray(self.nvec), self.dtype)

    def contains(self, value: PyTree) -> Array:
        if jnp.shape(value) != self.shape:
            return jnp.asarray(False)
        return jnp.all((value >= 0) & (value < jnp.asarray(self.nvec)))


@dataclass(frozen=True, eq=False)
class Box(Space):
    """Arrays between `low` and `high` (scalars or arrays of `shape`, infinite where unbounded)."""

    low: Any
    high: Any
    shape: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low = np.broadcast_to(np.asarray(self.low, self.dtype), self.shape)
        return low, np.broadcast_to(np.asarray(self.high, self.dtype), self.shape)

    @property
    def bounded(self) -> bool:
        """Whether every element has finite bounds on both sides."""
        low, high = self._bounds()
        return bool(np.isfinite(low).all() and np.isfinite(high).all())

    def sample(self, key: Key) -> Array:
        low, high = self._bounds()
        if not jnp.issubdtype(self.dtype, jnp.floating):
            return jax.random.randint(key, self.shape, low.astype(np.int32), high.astype(np.int32) + 1).astype(
                self.dtype
            )
        floor = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - 1, 0)).astype(self.dtype)
        ceiling = np.where(np.isfinite(high), high, floor + 1).astype(self.dtype)
        return jax.random.uniform(key, self.shape, self.dtype, floor, ceiling)

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


@dataclass(frozen=True, eq=False)
class Dict(Space):
    """A dictionary of spaces; elements are dictionaries with the same keys."""

    spaces: Mapping[str, Space]
    dtype: Any = None

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
