"""The feature extractor: what reaches each extractor and in which order it leaves."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.encoders import MLP, OneHot
from memorax.networks.feature_extractor import FeatureExtractor

BATCH, STEPS = 3, 4
KEY = jax.random.key(0)
OBSERVATION = jax.random.normal(KEY, (BATCH, STEPS, 2))
ACTION = jnp.arange(BATCH * STEPS).reshape(BATCH, STEPS) % 3
REWARD = jax.random.normal(jax.random.key(1), (BATCH, STEPS))
DONE = jax.random.bernoulli(jax.random.key(2), 0.5, (BATCH, STEPS))


class Identity(nn.Module):
    """Passes on a float `[B, T, ...]`."""

    def __call__(self, inputs):
        assert inputs.dtype == jnp.float32
        return inputs


class Pair(nn.Module):
    """Sees a dictionary and answers with a matrix for each step."""

    def __call__(self, observation):
        return jnp.stack([observation["left"], observation["right"]], axis=-1)


def test_parts_are_concatenated_in_order():
    extractor = FeatureExtractor(Identity(), OneHot(3), Identity(), Identity())
    features = extractor.apply({}, OBSERVATION, ACTION, REWARD, DONE)
    expected = [OBSERVATION, np.eye(3)[ACTION], np.asarray(REWARD)[..., None], np.asarray(DONE)[..., None]]
    np.testing.assert_allclose(features, np.concatenate(expected, axis=-1))


def test_a_part_without_extractor_is_not_seen():
    extractor = FeatureExtractor(observation_extractor=Identity())
    features = extractor.apply({}, OBSERVATION, ACTION, jnp.full_like(REWARD, jnp.nan), DONE)
    np.testing.assert_array_equal(features, OBSERVATION)


def test_actions_may_be_embedded_or_continuous():
    embedded = FeatureExtractor(MLP(5), nn.Embed(3, 6), MLP(4), MLP(4))
    y, _ = jax.eval_shape(embedded.init_with_output, KEY, OBSERVATION, ACTION, REWARD, DONE)
    assert y.shape == (BATCH, STEPS, 19)
    continuous = FeatureExtractor(MLP(5), MLP(6))
    y, _ = jax.eval_shape(continuous.init_with_output, KEY, OBSERVATION, jnp.zeros((BATCH, STEPS, 2)), REWARD, DONE)
    assert y.shape == (BATCH, STEPS, 11)


def test_observations_may_be_any_pytree_and_features_any_shape():
    observation = {"left": OBSERVATION, "right": 2 * OBSERVATION}
    features = FeatureExtractor(Pair()).apply({}, observation, ACTION, REWARD, DONE)
    expected = np.stack([OBSERVATION, 2 * OBSERVATION], axis=-1).reshape(BATCH, STEPS, 4)
    np.testing.assert_array_equal(features, expected)


def test_no_extractor_at_all_is_refused():
    with pytest.raises(
        ValueError, match="FeatureExtractor has no extractor: give it at least an observation_extractor"
    ):
        FeatureExtractor().init(KEY, OBSERVATION, ACTION, REWARD, DONE)
