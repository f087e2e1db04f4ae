"""What survives of a carry is what its recurrence keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks import LRUCell, Memoroid, SelfAttention
from memorax.networks.network import unroll
from memorax.probing import carries_along, carry_survival, carry_vectors, has_numbers, norms_in_episode
from memorax.probing.carries import Survival
from tests.probing.small import DONE, network, timesteps, variables


def test_a_linear_recurrence_keeps_its_decays_and_carries_are_those_of_unroll() -> None:
    model, steps = network(Memoroid(LRUCell(5))), timesteps()
    params, carry = variables(model, steps)
    found = carry_survival(jax.random.key(1), model, params, steps, carry, np.arange(DONE.shape[1]), 6)
    decays = np.exp(-np.exp(params["params"]["torso"]["cell"]["nu_log"]))
    powers = decays ** np.arange(5)[:, None]
    np.testing.assert_allclose(found.units[:5], powers, atol=1e-5)
    np.testing.assert_allclose(found.by_lag[:5], np.sqrt(np.mean(powers**2, axis=1)), atol=1e-5)
    assert np.isnan(found.by_lag[5:]).all(), "no episode has more than five steps"
    np.testing.assert_allclose(found.time_scales, np.sort(-1 / np.log(decays)), rtol=1e-4)

    carries = carries_along(model, params, steps, carry)
    last, _ = unroll(model, params, steps, carry)
    np.testing.assert_allclose(carries[:, -1], last, atol=1e-6)
    vectors = np.asarray(carry_vectors(carries, 2))
    assert vectors.shape == (*DONE.shape, 10)
    mean, deviation = norms_in_episode(vectors, DONE, 5)
    first = np.linalg.norm(vectors[DONE], axis=-1)
    np.testing.assert_allclose([mean[0], deviation[0]], [first.mean(), first.std()], rtol=1e-5)
    assert np.isnan(mean[5]) and not np.isnan(mean[4])


def test_a_cache_keeps_everything_until_it_is_overwritten() -> None:
    steps = timesteps(np.arange(8)[None] == np.zeros((2, 1)))
    model = network(SelfAttention(4, num_heads=1, context_length=3))
    params, carry = variables(model, steps)
    found = carry_survival(jax.random.key(1), model, params, steps, carry, np.arange(8), 5)
    np.testing.assert_allclose(found.by_lag, np.sqrt([1, 2 / 3, 1 / 3, 0, 0, 0]), atol=1e-6)
    assert found.half_life == 3 - 1 + (np.sqrt(1 / 3) - 0.5) / np.sqrt(1 / 3)


def test_time_scales_and_half_lives() -> None:
    found = Survival(by_lag=np.array([1, 0.9, np.nan]), units=np.array([[1, 1], [np.exp(-0.1), 1]]))
    np.testing.assert_allclose(found.time_scales, [10, np.inf])
    assert found.half_life == np.inf
    assert Survival(by_lag=np.ones(1), units=np.ones((1, 2))).time_scales.shape == (0,), "episodes of one step"


def test_counters_are_left_out() -> None:
    carry = {"count": jnp.ones((2,), jnp.int32), "state": jnp.full((2, 1), 3 + 4j)}
    np.testing.assert_array_equal(carry_vectors(carry), [[3, 4], [3, 4]])
    assert has_numbers(carry) and not has_numbers({"count": carry["count"]}) and not has_numbers(())
