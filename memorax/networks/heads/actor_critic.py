"""A policy and a value on one torso."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn

from memorax.environments.spaces import Space
from memorax.networks.heads.head import Head
from memorax.networks.heads.value import ValueHead
from memorax.types import Array


class ActorCriticOutput(NamedTuple):
    """What `ActorCritic` returns: the policy's distribution and the value head's output."""

    policy: Any
    value: Array


class ActorCritic(Head):
    """A policy head and a value head that see the same features.

    Attributes:
        policy_head: the policy head.
        value_head: the value head.
    """

    policy_head: Head
    value_head: ValueHead

    @property
    def returns(self) -> str:
        return f"{self.policy_head.returns} and {self.value_head.returns}"

    @property
    def policy_alone(self) -> PolicyAlone:
        """A head for the same variables that returns the policy's distribution."""
        return PolicyAlone(self.policy_head)

    @property
    def value_alone(self) -> ValueAlone:
        """A head for the same variables that returns the value head's output."""
        return ValueAlone(self.value_head)

    def __call__(self, features: Array) -> ActorCriticOutput:
        """The outputs of both heads for features `[B, T, F]`."""
        return ActorCriticOutput(self.policy_head(features), self.value_head(features))

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the policy head does not fit `space`."""
        self.policy_head.check_action_space(space)

    @nn.nowrap
    def mask(self, output: ActorCriticOutput, mask: Array) -> ActorCriticOutput:
        return output._replace(policy=self.policy_head.mask(output.policy, mask))


class PolicyAlone(Head):
    """The policy of an `ActorCritic`, with its variables."""

    policy_head: Head

    def __call__(self, features: Array) -> Any:
        return self.policy_head(features)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        self.policy_head.check_action_space(space)

    @nn.nowrap
    def mask(self, output: Any, mask: Array) -> Any:
        return self.policy_head.mask(output, mask)


class ValueAlone(ValueHead):
    """The value of an `ActorCritic`, with its variables."""

    value_head: ValueHead

    @property
    def returns(self) -> str:
        return self.value_head.returns

    def __call__(self, features: Array) -> Array:
        return self.value_head(features)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Do nothing: the policy checks it."""

    @nn.nowrap
    def value(self, output: Array) -> Array:
        return self.value_head.value(output)

    @nn.nowrap
    def loss(self, selected: Array, target: Array) -> Array:
        return self.value_head.loss(selected, target)

    @nn.nowrap
    def td_loss(self, selected: Array, next_selected: Array, reward: Array, discount: Array) -> Array:
        return self.value_head.td_loss(selected, next_selected, reward, discount)
