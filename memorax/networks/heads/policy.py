"""Heads that return policies: distributions with batch shape `[B, T]` (see `memorax.networks.distributions`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.networks import distributions
from memorax.networks.heads.fit import bound, check_bounds, check_fields, require_space
from memorax.networks.heads.head import POLICY_SCALE, Head, legal_actions, linear
from memorax.types import Array


class Categorical(Head):
    """A policy over the actions of a `Discrete` space.

    Attributes:
        action_dim: number of actions.
        dtype: dtype of the computation.
    """

    action_dim: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.Categorical:
        logits = linear(self.action_dim, POLICY_SCALE, self.dtype)(features)  # (B, T, A)
        return distributions.Categorical(logits.astype(jnp.float32))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = require_space(self, space, Discrete, "policy")
        check_fields(self, space, {"action_dim": (self.action_dim, space.n)})

    @nn.nowrap
    def mask(self, output: distributions.Categorical, mask: Array) -> distributions.Categorical:
        return output.replace(logits=jnp.where(legal_actions(mask), output.logits, -jnp.inf))


class MultiCategorical(Head):
    """A policy over the actions of a `MultiDiscrete` space.

    Attributes:
        action_dims: number of actions of each choice.
        dtype: dtype of the computation.
    """

    action_dims: Sequence[int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.MultiCategorical:
        logits = linear(sum(self.action_dims), POLICY_SCALE, self.dtype)(features)  # (B, T, sum of A)
        return distributions.MultiCategorical(logits.astype(jnp.float32), tuple(self.action_dims))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = require_space(self, space, MultiDiscrete, "policy")
        check_fields(self, space, {"action_dims": (tuple(self.action_dims), tuple(space.nvec))})

    @nn.nowrap
    def mask(self, output: distributions.MultiCategorical, mask: Array) -> distributions.MultiCategorical:
        choices = jnp.split(mask, np.cumsum(self.action_dims)[:-1], axis=-1)
        legal = jnp.concatenate([legal_actions(choice) for choice in choices], axis=-1)  # (B, T, sum of A)
        return output.replace(logits=jnp.where(legal, output.logits, -jnp.inf))


class Gaussian(Head):
    """A normal policy over a `Box` space with a standard deviation that does not depend on the features.

    Its samples are not bounded: environments are given the nearest action in the space.

    Attributes:
        action_dim: number of components of an action.
        initial_log_std: logarithm of the standard deviation before training.
        dtype: dtype of the computation.
    """

    action_dim: int
    initial_log_std: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.DiagonalGaussian:
        loc = linear(self.action_dim, POLICY_SCALE, self.dtype)(features).astype(jnp.float32)  # (B, T, A)
        log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.action_dim,))
        return distributions.DiagonalGaussian(loc, jnp.broadcast_to(log_std, loc.shape))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        space = require_space(self, space, Box, "policy")
        check_fields(self, space, {"action_dim": (self.action_dim, space.shape[0])})


class SquashedGaussian(Head):
    """A normal policy squashed by tanh into a bounded `Box` space (Haarnoja et al., 2018, Soft Actor-Critic).

    Mean and standard deviation both depend on the features.

    Attributes:
        action_dim: number of components of an action.
        low: lower bound of the actions, one or one for each number.
        high: upper bound likewise.
        min_log_std: lower limit of the logarithm of the standard deviation before squashing.
        max_log_std: upper limit likewise.
        initial_log_std: the logarithm before training, between the two bounds.
        dtype: dtype of the computation.
    """

    action_dim: int
    low: float | Sequence[float] = -1.0
    high: float | Sequence[float] = 1.0
    min_log_std: float = -5.0
    max_log_std: float = 2.0
    initial_log_std: float = 0.0
    dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if not self.min_log_std < self.initial_log_std < self.max_log_std:
            raise ValueError(
                f"initial_log_std ({self.initial_log_std}) must lie between min_log_std ({self.min_log_std}) "
                f"and max_log_std ({self.max_log_std})"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Array) -> distributions.SquashedDiagonalGaussian:
        loc = linear(self.action_dim, POLICY_SCALE, self.dtype, "loc")(features).astype(jnp.float32)  # (B, T, A)
        # Squashed into its limits rather than clipped, so that it never loses its gradient.
        middle, half = 0.5 * (self.max_log_std + self.min_log_std), 0.5 * (self.max_log_std - self.min_log_std)
        bias = math.atanh((self.initial_log_std - middle) / half)
        log_std = linear(self.action_dim, POLICY_SCALE, self.dtype, "log_std", bias)(features).astype(jnp.float32)
        log_std = middle + half * jnp.tanh(log_std)
        return distributions.SquashedDiagonalGaussian(loc, log_std, *_bounds_like(loc, self.low, self.high))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`, bounds included where the space has any."""
        _check_bounded(self, space, self.action_dim, self.low, self.high)


class Beta(Head):
    """A Beta policy over a bounded `Box` space, with one maximum within the bounds (Chou et al., 2017).

    Attributes:
        action_dim: number of components of an action.
        low: lower bound of the actions, one or one for each number.
        high: upper bound likewise.
        dtype: dtype of the computation.
    """

    action_dim: int
    low: float | Sequence[float] = -1.0
    high: float | Sequence[float] = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> distributions.Beta:
        alpha, beta = (
            1.0 + nn.softplus(linear(self.action_dim, POLICY_SCALE, self.dtype, name)(features).astype(jnp.float32))
            for name in ("alpha", "beta")
        )  # (B, T, A)
        return distributions.Beta(alpha, beta, *_bounds_like(alpha, self.low, self.high))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`, bounds included where the space has any."""
        _check_bounded(self, space, self.action_dim, self.low, self.high)


def _bounds_like(parameter: Array, low: float | Sequence[float], high: float | Sequence[float]) -> tuple[Array, Array]:
    """Bounds with the shape `[B, T, A]` of a parameter."""
    lower, upper = (jnp.broadcast_to(jnp.asarray(bound, jnp.float32), parameter.shape) for bound in (low, high))
    return lower, upper


def _check_bounded(head: Head, space: Space, action_dim: int, low: Any, high: Any) -> None:
    """Raise a ValueError if a head with bounds does not fit `space`."""
    check_bounds(head, low, high)
    box = require_space(head, space, Box, "policy")
    fields: dict[str, tuple[Any, Any]] = {"action_dim": (action_dim, box.shape[0])}
    if box.bounded:
        fields |= {"low": (bound(low), bound(box.low)), "high": (bound(high), bound(box.high))}
    check_fields(head, box, fields)
