"""The weight of the entropy, learned."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from memorax.types import Array


class Temperature(nn.Module):
    """How much entropy is worth, adapted until a policy's entropy is the one aimed for (Haarnoja et al., 2018, "Soft
    Actor-Critic Algorithms and Applications", section 5).

    Attributes:
        initial: the temperature before training, positive.
    """

    initial: float = 1.0

    def __post_init__(self) -> None:
        if self.initial <= 0:
            raise ValueError(f"initial ({self.initial}) must be positive: the logarithm of the temperature is learned")
        super().__post_init__()

    @nn.compact
    def __call__(self) -> Array:
        """The logarithm of the temperature, a float32 scalar: the parameter `log_alpha`."""
        return self.param("log_alpha", nn.initializers.constant(math.log(self.initial)), ())

    @nn.nowrap
    def value(self, log_alpha: Array) -> Array:
        """The temperature, without gradient: a weight in the losses of others."""
        return jax.lax.stop_gradient(jnp.exp(log_alpha))

    @nn.nowrap
    def loss(self, log_alpha: Array, entropy: Array, target_entropy: Array) -> Array:
        """The loss `[...]` that raises the temperature where the entropy is below the one aimed for.

        It is `log_alpha * (entropy - target_entropy)`, linear in the logarithm rather than in the temperature itself,
        so that a step is as large whatever the temperature is.

        Args:
            log_alpha: what the module returned.
            entropy: `[...]`, or what estimates it, minus the log-probability of an action drawn from the policy. No
                gradient flows through it.
            target_entropy: `[...]`.
        """
        return log_alpha * jax.lax.stop_gradient(entropy - target_entropy)
