"""Adds noise to observations."""

from __future__ import annotations

import jax

from memorax.environments.environment import Environment
from memorax.environments.wrappers.arguments import require_floats, require_number
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class NoisyObservation(Transform):
    """Add Gaussian noise to every element of an observation; the sum is clipped to the observation space.

    Args:
        env: an environment whose observations are a `Box` of floats.
        standard_deviation: standard deviation of the noise, in the units of the observation.

    Raises:
        ValueError: if `standard_deviation` is not positive, or observations are no `Box` of floats.
    """

    def __init__(self, env: Environment, standard_deviation: float) -> None:
        super().__init__(env)
        self._space = require_floats("noisy_observation", env)
        self.standard_deviation = require_number(
            "noisy_observation", standard_deviation, lambda s: s > 0, "be a positive number, a standard deviation"
        )

    def show(self, key: Key, observation: Array, params: PyTree) -> Array:
        noise = jax.random.normal(key, observation.shape, observation.dtype)
        return self._space.clip(observation + self.standard_deviation * noise)
