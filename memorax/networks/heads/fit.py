"""Whether a head fits an action space, and the one line that says which head would."""

from __future__ import annotations

from typing import Any, TypeVar

import flax.linen as nn
import numpy as np

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space

SpaceT = TypeVar("SpaceT", bound=Space)


def require_space(head: nn.Module, space: Space, kind: type[SpaceT], values: str) -> SpaceT:
    """`space`, if it is of the kind that a head is for.

    Args:
        head: the head.
        space: the action space.
        kind: the kind of space that fits; a `Box` must have one axis.
        values: what the head returns, "policy" or "action-value".

    Raises:
        ValueError: naming the default head of `space`, or saying that there is none; or if an action has no elements.
    """
    _check_elements(space)
    if isinstance(space, kind) and has_default(space, (kind,)):
        return space
    axes = " with one axis" if kind is Box else ""
    raise ValueError(
        f"{type(head).__name__} is for {kind.__name__} action spaces{axes}, but the action space is {describe(space)}: "
        f"use {_default(values, space)}"
    )


def _check_elements(space: Space) -> None:
    """Raise a ValueError where an action is an empty array, so that there is nothing to choose."""
    if isinstance(space, Box) and 0 in space.shape:
        raise ValueError(f"the action space is a Box of shape {space.shape}: it must have at least one element")


def check_fields(head: nn.Module, space: Space, fields: dict[str, tuple[Any, Any]]) -> None:
    """Raise a ValueError where a head's field, the first of each pair, is not what the space asks for, the second."""
    wrong = {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
    if wrong:
        own = ", ".join(f"{name}={pair[0]}" for name, pair in wrong.items())
        wanted = ", ".join(f"{name}={pair[1]}" for name, pair in wrong.items())
        raise ValueError(f"{type(head).__name__}({own}) does not fit the action space {describe(space)}: use {wanted}")


def check_bounds(head: nn.Module, low: Any, high: Any) -> None:
    """Raise a ValueError unless every lower bound of a head lies below the upper one."""
    if not np.all(np.asarray(low, np.float32) < np.asarray(high, np.float32)):
        name = type(head).__name__
        raise ValueError(f"{name}(low={bound(low)}, high={bound(high)}): low must be less than high in every number")


def has_default(space: Space, kinds: tuple[type[Space], ...]) -> bool:
    """Whether a space is of one of the kinds; a `Box` must have one axis."""
    return isinstance(space, kinds) and not (isinstance(space, Box) and len(space.shape) != 1)


def no_head(values: str, space: Space, kinds: tuple[type[Space], ...]) -> ValueError:
    """The error for a space that no head is for."""
    *others, last = (kind.__name__ for kind in kinds)
    remedy = ", which flatten_action=True makes of it" if isinstance(space, MultiDiscrete | Box) else ""
    return ValueError(
        f"there is no {values} head for the action space {describe(space)}: "
        f"it must be {', '.join(others)} or {last} with one axis{remedy}"
    )


def bound(value: Any) -> float | tuple[float, ...]:
    """A bound as one number where all numbers of an action share it."""
    values = tuple(np.asarray(value, np.float32).reshape(-1).tolist())
    return values[0] if len(set(values)) == 1 else values


def describe(space: Space) -> str:
    """A space as an error names it."""
    match space:
        case Discrete(n=n):
            return f"Discrete({n})"
        case MultiDiscrete(nvec=nvec):
            return f"MultiDiscrete({tuple(nvec)})"
        case Box():
            return f"Box(low={bound(space.low)}, high={bound(space.high)}, shape={space.shape})"
        case _:
            return type(space).__name__


KINDS: dict[str, tuple[type[Space], ...]] = {
    "policy": (Discrete, MultiDiscrete, Box),
    "action-value": (Discrete, Box),
}
"""The kinds of action space for which there are heads."""


def _default(values: str, space: Space) -> str:
    """The default head of a space, as one writes it."""
    if not has_default(space, KINDS[values]):
        raise no_head(values, space, KINDS[values])
    match values, space:
        case "policy", Discrete(n=n):
            return f"Categorical(action_dim={n})"
        case "policy", MultiDiscrete(nvec=nvec):
            return f"MultiCategorical(action_dims={tuple(nvec)})"
        case "policy", _:
            return f"Gaussian(action_dim={space.shape[0]})"
        case _, Discrete(n=n):
            return f"DiscreteQNetwork(action_dim={n})"
        case _:
            return "ContinuousQNetwork()"
