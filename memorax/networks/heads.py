"""Heads: what a network's features `[B, T, F]` become, policies or values.

Policy heads return a distribution (see `memorax.networks.distributions`) with batch shape `[B, T]`, value heads float32
arrays. A head computes in `dtype` and returns float32 in any case. A new head is a class here and an entry in
`POLICY_HEADS` or `Q_HEADS` if it is to be the default of a space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.networks import distributions
from memorax.networks.dense import Dense
from memorax.types import Array

SpaceT = TypeVar("SpaceT", bound=Space)

# A nearly uniform first policy explores and lets the first updates decide (Andrychowicz et al., 2021, section 3.2).
POLICY_SCALE = 0.01
VALUE_SCALE = 1.0


def _linear(features: int, scale: float, dtype: Any, name: str | None = None, bias: float = 0.0) -> nn.Dense:
    initializers = nn.initializers.orthogonal(scale), nn.initializers.constant(bias)
    return Dense(features, kernel_init=initializers[0], bias_init=initializers[1], dtype=dtype, name=name)


class Categorical(nn.Module):
    """A policy over the actions of a `Discrete` space.

    Attributes:
        action_dim: how many actions.
        dtype: what is computed in.
    """

    action_dim: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.Categorical:
        logits = _linear(self.action_dim, POLICY_SCALE, self.dtype)(features)  # (B, T, A)
        return distributions.Categorical(logits.astype(jnp.float32))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = _require(self, space, Discrete, policy_head)
        _check_fields(self, space, {"action_dim": (self.action_dim, space.n)})


class MultiCategorical(nn.Module):
    """A policy over the actions of a `MultiDiscrete` space.

    Attributes:
        action_dims: how many actions each choice has.
        dtype: what is computed in.
    """

    action_dims: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.MultiCategorical:
        logits = _linear(sum(self.action_dims), POLICY_SCALE, self.dtype)(features)  # (B, T, sum of A)
        return distributions.MultiCategorical(logits.astype(jnp.float32), self.action_dims)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = _require(self, space, MultiDiscrete, policy_head)
        _check_fields(self, space, {"action_dims": (tuple(self.action_dims), tuple(space.nvec))})


class Gaussian(nn.Module):
    """A normal policy over a `Box` space with a standard deviation that does not depend on the features.

    Its samples are not bounded: environments are given the nearest action in the space.

    Attributes:
        action_dim: how many numbers an action has.
        initial_log_std: logarithm of the standard deviation before training.
        dtype: what is computed in.
    """

    action_dim: int
    initial_log_std: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.DiagonalGaussian:
        loc = _linear(self.action_dim, POLICY_SCALE, self.dtype)(features).astype(jnp.float32)  # (B, T, A)
        log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.action_dim,))
        return distributions.DiagonalGaussian(loc, jnp.broadcast_to(log_std, loc.shape))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = _require(self, space, Box, policy_head)
        _check_fields(self, space, {"action_dim": (self.action_dim, space.shape[0])})


class SquashedGaussian(nn.Module):
    """A normal policy squashed by tanh into a bounded `Box` space (Haarnoja et al., 2018, Soft Actor-Critic).

    Mean and standard deviation both depend on the features.

    Attributes:
        action_dim: how many numbers an action has.
        low: lower bound of the actions, one or one for each number.
        high: upper bound likewise.
        min_log_std: lower limit of the logarithm of the standard deviation before squashing.
        max_log_std: upper limit likewise.
        initial_log_std: what it is before training, between the two.
        dtype: what is computed in.
    """

    action_dim: int
    low: float | Sequence[float] = -1.0
    high: float | Sequence[float] = 1.0
    min_log_std: float = -5.0
    max_log_std: float = 2.0
    initial_log_std: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.SquashedDiagonalGaussian:
        loc = _linear(self.action_dim, POLICY_SCALE, self.dtype, "loc")(features).astype(jnp.float32)  # (B, T, A)
        # Squashed into its limits rather than clipped, so that it never loses its gradient.
        middle, half = 0.5 * (self.max_log_std + self.min_log_std), 0.5 * (self.max_log_std - self.min_log_std)
        bias = math.atanh((self.initial_log_std - middle) / half)
        log_std = _linear(self.action_dim, POLICY_SCALE, self.dtype, "log_std", bias)(features).astype(jnp.float32)
        log_std = middle + half * jnp.tanh(log_std)
        low = jnp.broadcast_to(jnp.asarray(self.low, jnp.float32), loc.shape)
        high = jnp.broadcast_to(jnp.asarray(self.high, jnp.float32), loc.shape)
        return distributions.SquashedDiagonalGaussian(loc, log_std, low, high)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`, bounds included where the space has any."""
        space = _require(self, space, Box, policy_head)
        fields: dict[str, tuple[Any, Any]] = {"action_dim": (self.action_dim, space.shape[0])}
        if space.bounded:
            fields |= {"low": (_bound(self.low), _bound(space.low)), "high": (_bound(self.high), _bound(space.high))}
        _check_fields(self, space, fields)


class VNetwork(nn.Module):
    """The value of a timestep.

    Attributes:
        dtype: what is computed in.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Values `[B, T]`, float32."""
        return _linear(1, VALUE_SCALE, self.dtype)(features).astype(jnp.float32)[..., 0]

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Do nothing: the value of a timestep fits every action space."""


class DiscreteQNetwork(nn.Module):
    """The values of all actions of a `Discrete` space.

    Attributes:
        action_dim: how many actions.
        dtype: what is computed in.
    """

    action_dim: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Action values `[B, T, A]`, float32."""
        return _linear(self.action_dim, VALUE_SCALE, self.dtype)(features).astype(jnp.float32)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = _require(self, space, Discrete, q_head)
        _check_fields(self, space, {"action_dim": (self.action_dim, space.n)})


class ContinuousQNetwork(nn.Module):
    """The value of an action of a `Box` space.

    Attributes:
        hidden_features: widths of the layers in which features and action meet.
        dtype: what is computed in.
    """

    hidden_features: Sequence[int] = (256,)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array, action: Array) -> Array:
        """Values `[B, T]`, float32, of the actions `[B, T, A]`."""
        hidden = jnp.concatenate([features, action.astype(features.dtype)], axis=-1)
        for width in self.hidden_features:
            hidden = nn.relu(_linear(width, math.sqrt(2.0), self.dtype)(hidden))
        return _linear(1, VALUE_SCALE, self.dtype)(hidden).astype(jnp.float32)[..., 0]

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        _require(self, space, Box, q_head)


POLICY_HEADS: dict[type[Space], Callable[[Any], nn.Module]] = {
    Discrete: lambda space: Categorical(space.n),
    MultiDiscrete: lambda space: MultiCategorical(tuple(space.nvec)),
    Box: lambda space: Gaussian(math.prod(space.shape)),
}
"""The default policy head of each kind of action space."""

Q_HEADS: dict[type[Space], Callable[[Any], nn.Module]] = {
    Discrete: lambda space: DiscreteQNetwork(space.n),
    Box: lambda space: ContinuousQNetwork(),
}
"""The default action-value head of each kind of action space."""


def policy_head(space: Space) -> nn.Module:
    """The default policy head for an action space.

    Raises:
        ValueError: if there is none.
    """
    return _default_head("policy", POLICY_HEADS, space)


def q_head(space: Space) -> nn.Module:
    """The default action-value head for an action space.

    Raises:
        ValueError: if there is none.
    """
    return _default_head("action-value", Q_HEADS, space)


def _default_head(values: str, table: dict[type[Space], Callable[[Any], nn.Module]], space: Space) -> nn.Module:
    if type(space) not in table or (isinstance(space, Box) and len(space.shape) != 1):
        *others, last = (kind.__name__ for kind in table)
        raise ValueError(
            f"there is no {values} head for the action space {_describe(space)}: "
            f"it must be {', '.join(others)} or {last} with one axis"
        )
    return table[type(space)](space)


def _require(head: nn.Module, space: Space, kind: type[SpaceT], default: Callable[[Space], nn.Module]) -> SpaceT:
    """`space`, if it is of the kind a head is for."""
    if isinstance(space, kind) and not (isinstance(space, Box) and len(space.shape) != 1):
        return space
    name, axes = type(head).__name__, " with one axis" if kind is Box else ""
    remedy = default(space)  # raises where there is none
    raise ValueError(
        f"{name} is for {kind.__name__} action spaces{axes}, but the action space is {_describe(space)}: "
        f"use {_describe_head(remedy)}"
    )


def _check_fields(head: nn.Module, space: Space, fields: dict[str, tuple[Any, Any]]) -> None:
    """Raise where a head's field, the first of each pair, is not what the space asks for, the second."""
    wrong = {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
    if wrong:
        own = ", ".join(f"{name}={pair[0]}" for name, pair in wrong.items())
        wanted = ", ".join(f"{name}={pair[1]}" for name, pair in wrong.items())
        raise ValueError(f"{type(head).__name__}({own}) does not fit the action space {_describe(space)}: use {wanted}")


def _bound(bound: Any) -> float | tuple[float, ...]:
    """A bound as one number where all numbers of an action share it."""
    values = tuple(np.asarray(bound, np.float32).reshape(-1).tolist())
    return values[0] if len(set(values)) == 1 else values


def _describe(space: Space) -> str:
    match space:
        case Discrete(n=n):
            return f"Discrete({n})"
        case MultiDiscrete(nvec=nvec):
            return f"MultiDiscrete({tuple(nvec)})"
        case Box():
            return f"Box(low={_bound(space.low)}, high={_bound(space.high)}, shape={space.shape})"
        case _:
            return type(space).__name__


def _describe_head(head: nn.Module) -> str:
    match head:
        case Categorical() | DiscreteQNetwork() | Gaussian():
            return f"{type(head).__name__}(action_dim={head.action_dim})"
        case MultiCategorical():
            return f"MultiCategorical(action_dims={head.action_dims})"
        case _:
            return f"{type(head).__name__}()"
