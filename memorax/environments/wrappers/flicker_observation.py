"""Blanks whole observations at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.environments.wrappers.arguments import require_box, require_probability
from memorax.environments.wrappers.blank import with_zero
from memorax.environments.wrappers.transform import Transform
from memorax.types import Array, Key, PyTree


class FlickerObservation(Transform):
    """Replace observations by zeros at random, independently and with the same probability.

    Source: Hausknecht and Stone, "Deep Recurrent Q-Learning for Partially Observable MDPs", 2015, with
    probability 0.5.

    Args:
        env: an environment whose observations are a `Box`.
        probability: probability that an observation is blanked.

    Raises:
        ValueError: if `probability` does not lie between 0 and 1, or observations are no `Box`.
    """

    def __init__(self, env: Environment, probability: float) -> None:
        super().__init__(env)
        require_box("flicker_observation", env)
        self.probability = require_probability("flicker_observation", probability)

    def show(self, key: Key, observation: Array, params: PyTree) -> Array:
        blank = jax.random.bernoulli(key, self.probability)
        return jnp.where(blank, jnp.zeros_like(observation), observation)

    def seen_space(self, space: Space, params: PyTree) -> Box:
        assert isinstance(space, Box)
        return with_zero(space)
