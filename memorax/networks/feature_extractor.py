"""The feature extractor: encodes the parts of a timestep and concatenates them."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from memorax.environments.space_vectors import flatten
from memorax.types import Array, PyTree


class FeatureExtractor(nn.Module):
    """Encodes the parts of a timestep and concatenates what comes out; a part without an extractor is not seen.

    Attributes:
        observation_extractor: is given the observation, any pytree of `[B, T, ...]`.
        action_extractor: is given the previous action, int `[B, T]` if it is discrete and float `[B, T, A]` if not.
        reward_extractor: is given the previous reward, float `[B, T, 1]`.
        done_extractor: is given whether an episode starts, float `[B, T, 1]`.
    """

    observation_extractor: nn.Module | None = None
    action_extractor: nn.Module | None = None
    reward_extractor: nn.Module | None = None
    done_extractor: nn.Module | None = None

    @nn.compact
    def __call__(self, observation: PyTree, action: PyTree, reward: Array, done: Array) -> Array:
        """Features `[B, T, F]` of a timestep whose leaves are `[B, T, ...]`.

        Raises:
            ValueError: if there is no extractor at all.
        """
        parts = (
            (self.observation_extractor, observation),
            (self.action_extractor, action),
            (self.reward_extractor, reward.astype(jnp.float32)[..., None]),
            (self.done_extractor, done.astype(jnp.float32)[..., None]),
        )
        features = [extractor(part) for extractor, part in parts if extractor is not None]
        if not features:
            raise ValueError("FeatureExtractor has no extractor: give it at least an observation_extractor")
        return jnp.concatenate([flatten(x) for x in features], axis=-1)
