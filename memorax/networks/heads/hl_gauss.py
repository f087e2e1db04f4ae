"""A value as a histogram, learned by classification."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.heads.c51 import cross_entropy, expectation
from memorax.networks.heads.representation import Representation, bootstrapped, require_support
from memorax.types import Array


@dataclass(frozen=True)
class HLGauss(Representation):
    """Probabilities of equal bins, given as logits (Farebrother et al., 2024, "Stop Regressing", section 3.1).

    The loss against a value is the cross entropy with a normal distribution around it, cut off at both ends. The loss
    against a successor is that against its value, discounted, plus the reward.

    Attributes:
        num_bins: number of bins.
        low: lower end of the first bin. Values below it count as it.
        high: upper end of the last bin. Values above it count as it.
        sigma: standard deviation of the normal distribution, in bins.
    """

    num_bins: int = 101
    low: float = -10.0
    high: float = 10.0
    sigma: float = 0.75

    def __post_init__(self) -> None:
        require_support("num_bins", self.num_bins, self.low, self.high)
        if self.sigma <= 0:
            raise ValueError(f"sigma ({self.sigma}) must be positive")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.num_bins,)

    @property
    def centers(self) -> np.ndarray:
        """The centers `[N]` of the bins."""
        edges = np.linspace(self.low, self.high, self.num_bins + 1)
        return (0.5 * (edges[1:] + edges[:-1])).astype(np.float32)

    def value(self, output: Array) -> Array:
        return expectation(output, self.centers)

    def loss(self, output: Array, target: Array) -> Array:
        return cross_entropy(self.histogram(target), output)

    def td_loss(self, output: Array, next_output: Array, reward: Array, discount: Array) -> Array:
        return self.loss(output, bootstrapped(self.value(next_output), reward, discount))

    def histogram(self, value: Array) -> Array:
        """The share `[..., N]` each bin has of the normal distribution around `value` `[...]`, without gradient."""
        width = (self.high - self.low) / self.num_bins
        position = (jnp.clip(value, self.low, self.high) - self.low) / width  # in units of bins
        edge = np.arange(self.num_bins + 1, dtype=np.float32).reshape(*(1 for _ in value.shape), -1)
        below = jax.scipy.special.erf((edge - position[..., None]) / (math.sqrt(2.0) * self.sigma))  # (..., N + 1)
        return jax.lax.stop_gradient(jnp.diff(below) / (below[..., -1:] - below[..., :1]))
