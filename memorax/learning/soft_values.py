"""Soft values: what a policy's actions are worth, and how uncertain it is of them.

A critic either values all actions at once, so that expectations over a policy are exact, or one action that it is
given, so that they are estimated by an action drawn from the policy. What follows from which of the two it is lies here
alone.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax.numpy as jnp

from memorax.networks.heads.representation import bootstrapped
from memorax.networks.network import Network, apply_head, takes_action
from memorax.types import Array, Key, PyTree


class SoftValue(NamedTuple):
    """What makes up the soft value `action_value + temperature * entropy` of timesteps, leaves `[B, T]`.

    Attributes:
        action_value: the mean value of the policy's actions, or the value of one drawn from it.
        entropy: the policy's, or minus the log-probability of the same action.
    """

    action_value: Array
    entropy: Array

    def total(self, temperature: Array) -> Array:
        """The soft value `[B, T]` (Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications", eq. 3)."""
        return self.action_value + temperature * self.entropy


class SoftCritic(abc.ABC):
    """A critic network and how soft values are computed from it.

    Both methods start from the features `[B, T, D]` that `encode_with_losses` returned and from the observations
    `[B, T, ...]` of the same steps, which are read for their `action_mask` alone.

    Attributes:
        network: an action-value network.
    """

    target_entropy_ratio: float
    """What a temperature commonly aims for, the argument of `Distribution.target_entropy`."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @abc.abstractmethod
    def taken(self, params: PyTree, features: Array, observation: PyTree, action: PyTree) -> Any:
        """The head's output for the actions taken, `[B, T, ...]`."""

    @abc.abstractmethod
    def soft_value(self, key: Key, params: PyTree, features: Array, observation: PyTree, policy: Any) -> SoftValue:
        """The soft values of timesteps, differentiable by the parameters of the policy.

        Args:
            key: random key.
            params: the network's variables.
            features: those of the timesteps.
            observation: that of the timesteps.
            policy: a distribution over actions, batch shape `[B, T]`.
        """


class ExactSoftCritic(SoftCritic):
    """Expectations over all actions, of which illegal ones count nothing (Christodoulou, 2019, "Soft Actor-Critic for
    Discrete Action Settings", eqs. 10 to 12).
    """

    target_entropy_ratio = 0.5

    def taken(self, params: PyTree, features: Array, observation: PyTree, action: PyTree) -> Any:
        return self.network.head.select(apply_head(self.network, params, features, observation), action)

    def soft_value(self, key: Key, params: PyTree, features: Array, observation: PyTree, policy: Any) -> SoftValue:
        values = self.network.head.value(apply_head(self.network, params, features, observation))  # (B, T, A)
        return SoftValue(policy.expectation(values), policy.entropy())


class SampledSoftCritic(SoftCritic):
    """An action drawn from the policy stands for all (Haarnoja et al., 2018, eqs. 3 and 9)."""

    target_entropy_ratio = 1.0

    def taken(self, params: PyTree, features: Array, observation: PyTree, action: PyTree) -> Any:
        return apply_head(self.network, params, features, observation, action)

    def soft_value(self, key: Key, params: PyTree, features: Array, observation: PyTree, policy: Any) -> SoftValue:
        action, log_prob = policy.sample_and_log_prob(key)
        return SoftValue(self.network.head.value(self.taken(params, features, observation, action)), -log_prob)


def soft_critic(network: Network) -> SoftCritic:
    """How soft values are computed from a critic: exactly, or, if its head is given an action, from a sample."""
    return SampledSoftCritic(network) if takes_action(network.head) else ExactSoftCritic(network)


def soft_targets(reward: Array, discount: Array, successor: SoftValue, temperature: Array) -> Array:
    """One-step targets `[B, T]` of action values (Haarnoja et al., 2018, eqs. 2 and 3), without gradient.

    Args:
        reward: what each step paid, `[B, T]`.
        discount: gamma; zero where nothing follows, `[B, T]`. The successor is not read there, be it NaN.
        successor: the soft value of the timestep each step led to, by the target network.
        temperature: weight of the entropy.
    """
    return bootstrapped(successor.total(temperature), reward, jnp.asarray(discount))
