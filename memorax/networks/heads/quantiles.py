"""A distribution of returns by its quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from memorax.networks.heads.representation import Representation
from memorax.types import Array


@dataclass(frozen=True)
class Quantiles(Representation):
    """Returns at equally spaced quantiles (Dabney et al., 2018, "Distributional Reinforcement Learning with Quantile").

    The loss is the quantile Huber loss (equations 9 and 10), summed over the quantiles and averaged over what they are
    compared with: one value, or all quantiles of the successor, discounted and shifted by the reward.

    Attributes:
        num_quantiles: number of quantiles; the i-th is that of probability `(i + 1/2) / num_quantiles`.
        huber: error at which the Huber loss turns from quadratic to linear.
    """

    num_quantiles: int = 51
    huber: float = 1.0

    def __post_init__(self) -> None:
        if self.num_quantiles < 1:
            raise ValueError(f"num_quantiles ({self.num_quantiles}) must be at least 1")
        if self.huber <= 0:
            raise ValueError(f"huber ({self.huber}) must be positive")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.num_quantiles,)

    def value(self, output: Array) -> Array:
        return jnp.mean(output, axis=-1)

    def loss(self, output: Array, target: Array) -> Array:
        return self._quantile_huber(output, target[..., None])

    def td_loss(self, output: Array, next_output: Array, reward: Array, discount: Array) -> Array:
        reward, discount = reward[..., None], discount[..., None]
        target = jnp.where(discount == 0.0, reward, reward + discount * next_output)  # (..., N)
        return self._quantile_huber(output, jax.lax.stop_gradient(target))

    def _quantile_huber(self, output: Array, target: Array) -> Array:
        """`[..., N]` against each of `[..., M]`."""
        error = target[..., None, :] - output[..., :, None]  # (..., N, M)
        probability = (np.arange(self.num_quantiles, dtype=np.float32) + 0.5) / self.num_quantiles
        probability = probability.reshape(*(1 for _ in output.shape[:-1]), -1, 1)
        weight = jnp.where(error < 0.0, 1.0 - probability, probability)
        return jnp.sum(jnp.mean(weight * optax.huber_loss(error, delta=self.huber), axis=-1), axis=-1)
