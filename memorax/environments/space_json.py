"""Spaces as JSON holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from memorax.validation import finite_json


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as JSON holds it: its kind and what describes it, infinite bounds as text.

    Raises:
        ValueError: if the space is of a kind that is not known.
    """
    match space:
        case Discrete():
            return {"kind": "discrete", "n": space.n, "dtype": jnp.dtype(space.dtype).name}
        case MultiDiscrete():
            return {"kind": "multi_discrete", "nvec": list(map(int, space.nvec)), "dtype": jnp.dtype(space.dtype).name}
        case Box():
            return {
                "kind": "box",
                "low": _bound_to_json(space.low, space.shape),
                "high": _bound_to_json(space.high, space.shape),
                "shape": list(space.shape),
                "dtype": jnp.dtype(space.dtype).name,
            }
        case Dict():
            return {"kind": "dict", "spaces": {name: space_to_json(inner) for name, inner in space.spaces.items()}}
    raise ValueError(f"a space of the kind {type(space).__name__} cannot be written as JSON")


def space_from_json(content: Mapping[str, Any]) -> Space:
    """The inverse of `space_to_json`.

    Raises:
        ValueError: if the kind is not known.
    """
    match content["kind"]:
        case "discrete":
            return Discrete(content["n"], jnp.dtype(content["dtype"]))
        case "multi_discrete":
            return MultiDiscrete(tuple(content["nvec"]), jnp.dtype(content["dtype"]))
        case "box":
            low, high = (_bound_from_json(content[name]) for name in ("low", "high"))
            return Box(low, high, tuple(content["shape"]), jnp.dtype(content["dtype"]))
        case "dict":
            return Dict({name: space_from_json(inner) for name, inner in content["spaces"].items()})
    raise ValueError(f"unknown kind of space {content['kind']!r}: use the version of memorax that wrote it")


def _bound_to_json(bound: Any, shape: tuple[int, ...]) -> Any:
    """A bound as nested lists, or as one number where all are alike; numbers that are not finite become text."""
    full = np.broadcast_to(np.asarray(bound), shape)
    # Pictures have thousands of bounds, all the same.
    alike = full.size > 0 and bool(np.all(full == full.flat[0]))
    return finite_json((full.flat[0] if alike else full).tolist())


def _bound_from_json(bound: Any) -> np.ndarray:
    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [number(member) for member in value]
        return float(value) if isinstance(value, str) else value

    return np.asarray(number(bound))
