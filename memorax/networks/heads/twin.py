"""Two value heads, of which the lower is believed."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.networks.heads.value import ValueHead
from memorax.types import Array, where

Halves = tuple[Array, Array]


class Twin(ValueHead):
    """Two of a value head, each with parameters of its own, against overestimation (Fujimoto et al., 2018, TD3).

    The output is the pair of both halves' outputs, and so is what is selected of it; each is `[B, T, ...]`. The value
    `[B, T]` or `[B, T, A]` is the lower of the two, action by action. Losses `[B, T]` are the sum of both halves'; in
    `td_loss` both learn from that half of the successor's output whose value is lower (equation 10).

    Attributes:
        head: the value head.
    """

    head: ValueHead

    @property
    def takes_action(self) -> bool:
        return self.head.takes_action

    @property
    def returns(self) -> str:
        return self.head.returns

    @nn.compact
    def __call__(self, features: Array, *head_inputs: Any) -> Halves:
        """The outputs of both halves."""
        # Apart rather than mapped over one module: initialisers that decompose matrices must not be batched (see
        # `memorax.networks.network.initialize`).
        first, second = (self.head.clone(parent=self, name=name) for name in ("first", "second"))
        return first(features, *head_inputs), second(features, *head_inputs)

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        self.head.check_action_space(space)

    @nn.nowrap
    def mask(self, output: Halves, mask: Array) -> Halves:
        first, second = output
        return self.head.mask(first, mask), self.head.mask(second, mask)

    @nn.nowrap
    def values(self, output: Halves) -> Halves:
        """The values of each half, `[B, T]` or `[B, T, A]`."""
        first, second = output
        return self.head.value(first), self.head.value(second)

    @nn.nowrap
    def value(self, output: Halves) -> Array:
        return jnp.minimum(*self.values(output))

    @nn.nowrap
    def select(self, output: Halves, action: Array) -> Halves:
        first, second = output
        return self.head.select(first, action), self.head.select(second, action)

    @nn.nowrap
    def loss(self, selected: Halves, target: Array) -> Array:
        first, second = selected
        return self.head.loss(first, target) + self.head.loss(second, target)

    @nn.nowrap
    def td_loss(self, selected: Halves, next_selected: Halves, reward: Array, discount: Array) -> Array:
        first_value, second_value = self.values(next_selected)
        lower = where((first_value <= second_value) | jnp.isnan(first_value), *next_selected)
        first, second = (self.head.td_loss(half, lower, reward, discount) for half in selected)
        return first + second
