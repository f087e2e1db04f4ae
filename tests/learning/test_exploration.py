"""Exploration: how often, over what, and for whom."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.learning.exploration import epsilon_greedy

NUM_DRAWS = 30_000
Q_VALUES = jnp.broadcast_to(jnp.array([0.0, 3.0, 1.0]), (NUM_DRAWS, 3))


def test_greedy_and_random_actions():
    actions = epsilon_greedy(jax.random.key(0), Q_VALUES, 0.0)
    assert actions.dtype == jnp.int32
    assert (actions == 1).all()
    frequencies = np.bincount(epsilon_greedy(jax.random.key(0), Q_VALUES, 0.3), minlength=3) / NUM_DRAWS
    np.testing.assert_allclose(frequencies, [0.1, 0.8, 0.1], atol=0.01)


def test_epsilon_may_differ_and_be_traced():
    epsilon = jnp.array([[0.0], [1.0]]) * jnp.ones((2, 1000))
    q_values = jnp.broadcast_to(Q_VALUES[0], (2, 1000, 3))
    actions = jax.jit(epsilon_greedy)(jax.random.key(0), q_values, epsilon)
    assert (actions[0] == 1).all()
    np.testing.assert_allclose(np.bincount(actions[1], minlength=3) / 1000, np.full(3, 1 / 3), atol=0.06)


def test_epsilon_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"epsilon \(2,\) must be a scalar or have the shape of the actions, \(3, 4\)"):
        epsilon_greedy(jax.random.key(0), jnp.zeros((3, 4, 5)), jnp.zeros(2))


def test_random_actions_are_legal():
    q_values = jnp.where(jnp.asarray([[True, False, True, False]]), jnp.zeros((NUM_DRAWS, 4)), -jnp.inf)
    frequencies = np.bincount(epsilon_greedy(jax.random.key(0), q_values, 1.0), minlength=4) / NUM_DRAWS
    np.testing.assert_allclose(frequencies, [0.5, 0.0, 0.5, 0.0], atol=0.01)
    assert frequencies[1] == frequencies[3] == 0
