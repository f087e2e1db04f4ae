"""Gradients by past inputs are finite differences, and end where a memory ends."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks import MLP, RNN, SelfAttention, SequenceModelWrapper, heads
from memorax.networks.network import unroll
from memorax.probing import influence, input_gradients
from tests.probing.small import DONE, FEATURES, network, timesteps, variables

STEP = 1e-2


@pytest.mark.parametrize("head", [heads.Categorical(2), heads.C51QNetwork(2)], ids=["policy", "values"])
def test_they_are_finite_differences(head: nn.Module) -> None:
    model, steps = network(RNN(nn.GRUCell(4)), head), timesteps()
    params, carry = variables(model, steps)
    num_steps = DONE.shape[1]
    norms = jax.jit(lambda *arguments: input_gradients(model, *arguments))(params, steps, carry, jnp.arange(num_steps))

    @jax.jit
    def numbers(shift: jax.Array) -> jax.Array:
        shifted = steps.replace(observation=steps.observation + shift[None])
        return model.head.numbers(unroll(model, params, shifted, carry)[1])  # (B, T, N)

    squares = np.zeros((num_steps, *DONE.shape))
    for step in range(num_steps):
        for feature in range(FEATURES):
            shift = jnp.zeros((num_steps, FEATURES)).at[step, feature].set(STEP)
            difference = (numbers(shift) - numbers(-shift)) / (2 * STEP)
            squares[:, :, step] += np.square(difference).sum(axis=-1).T
    assert norms.max() > 0.1
    np.testing.assert_allclose(norms, np.sqrt(squares), atol=2e-3 * norms.max())


def test_without_memory_only_the_present_matters() -> None:
    model, steps = network(SequenceModelWrapper(MLP(8))), timesteps()
    params, carry = variables(model, steps)
    found = influence(model, params, steps, carry, np.arange(DONE.shape[1]), 4)
    assert found.by_lag[0] > 0 and (found.by_lag[1:] == 0).all()
    assert found.relative.tolist() == [1, 0, 0, 0, 0]
    assert found.episode.shape == (5, 5), "the first episode of the first row"
    np.testing.assert_array_equal(np.isnan(found.episode), ~np.tri(5, dtype=bool))
    np.testing.assert_array_equal(found.relative_episode[np.tri(5, dtype=bool)], np.eye(5)[np.tri(5, dtype=bool)])


def test_attention_sees_its_context_and_nothing_before() -> None:
    steps = timesteps(np.arange(10)[None] == np.zeros((2, 1)))
    model = network(SelfAttention(4, num_heads=1, context_length=3))
    params, carry = variables(model, steps)
    found = influence(model, params, steps, carry, np.arange(10), 9)
    assert (found.by_lag[:3] > 1e-3).all() and (found.by_lag[3:] == 0).all()


def test_lags_that_no_episode_has_are_unknown() -> None:
    model, steps = network(RNN(nn.GRUCell(4))), timesteps()
    params, carry = variables(model, steps)
    found = influence(model, params, steps, carry, np.array([4, 7]), 7)
    np.testing.assert_array_equal(np.isnan(found.by_lag), [False] * 5 + [True] * 3)
    assert found.times.tolist() == [4]
