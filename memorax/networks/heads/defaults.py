"""The default head of each kind of action space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.networks.heads.action_value import ContinuousQNetwork, DiscreteQNetwork
from memorax.networks.heads.fit import KINDS, has_default, no_head
from memorax.networks.heads.head import Head
from memorax.networks.heads.policy import Categorical, Gaussian, MultiCategorical
from memorax.networks.heads.value import ValueHead

POLICY_HEADS: dict[type[Space], Callable[[Any], Head]] = {
    Discrete: lambda space: Categorical(space.n),
    MultiDiscrete: lambda space: MultiCategorical(tuple(space.nvec)),
    Box: lambda space: Gaussian(space.shape[0]),
}
"""The default policy head of each kind of action space."""

Q_HEADS: dict[type[Space], Callable[[Any], ValueHead]] = {
    Discrete: lambda space: DiscreteQNetwork(space.n),
    Box: lambda space: ContinuousQNetwork(),
}
"""The default action-value head of each kind of action space."""


def policy_head(space: Space) -> Head:
    """The default policy head for an action space.

    Raises:
        ValueError: if there is none.
    """
    if not has_default(space, KINDS["policy"]):
        raise no_head("policy", space, KINDS["policy"])
    return POLICY_HEADS[type(space)](space)


def q_head(space: Space) -> ValueHead:
    """The default action-value head for an action space.

    Raises:
        ValueError: if there is none.
    """
    if not has_default(space, KINDS["action-value"]):
        raise no_head("action-value", space, KINDS["action-value"])
    return Q_HEADS[type(space)](space)
