"""Two value heads, of which the lower is believed."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.environments.spaces import Space
from memorax.networks.heads.value import ValueHead
from memorax.types import Array, where


class Twin(ValueHead):
    """Two of a value head, each with parameters of its own, against overestimation (Fujimoto et al., 2018, TD3).

    Outputs are those of the two halves, `[2, B, T, ...]`, and so is what is selected of them. The value `[B, T]` or
    `[B, T, A]` is the lower of the two, action by action. Losses `[B, T]` are the sum of both halves'; in `td_loss`
    both learn from that half of the successor's output whose value is lower (equation 10).

    Attributes:
        head: the value head.
    """

    head: ValueHead

    @property
    def takes_action(self) -> bool:
        return self.head.takes_action

    @nn.compact
    def __call__(self, features: Array, *head_inputs: Any) -> Array:
        """Outputs `[2, B, T, ...]`, float32."""
        halves = [self.head.clone(parent=self, name=name) for name in ("first", "second")]
        return jnp.stack([half(features, *head_inputs) for half in halves])

    @nn.nowrap
    def check_action_space(self, space: Space) -> None:
        """Raise a ValueError if the head does not fit `space`."""
        self.head.check_action_space(space)

    @nn.nowrap
    def mask(self, output: Array, mask: Array) -> Array:
        return jax.vmap(self.head.mask, in_axes=(0, None))(output, mask)

    @nn.nowrap
    def values(self, output: Array) -> Array:
        """The values of each half, `[2, B, T]` or `[2, B, T, A]`."""
        return jax.vmap(self.head.value)(output)

    @nn.nowrap
    def value(self, output: Array) -> Array:
        return jnp.min(self.values(output), axis=0)

    @nn.nowrap
    def select(self, output: Array, action: Array) -> Array:
        return jax.vmap(self.head.select, in_axes=(0, None))(output, action)

    @nn.nowrap
    def loss(self, selected: Array, target: Array) -> Array:
        return jnp.sum(jax.vmap(self.head.loss, in_axes=(0, None))(selected, target), axis=0)

    @nn.nowrap
    def td_loss(self, selected: Array, next_selected: Array, reward: Array, discount: Array) -> Array:
        first, second = self.values(next_selected)
        lower = where((first <= second) | jnp.isnan(first), next_selected[0], next_selected[1])
        losses = jax.vmap(self.head.td_loss, in_axes=(0, None, None, None))(selected, lower, reward, discount)
        return jnp.sum(losses, axis=0)
