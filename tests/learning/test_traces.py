"""Traces and the bound on their steps, against loops in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.learning.optimization import Learner, apply_gradients
from memorax.learning.traces import TracedLearner, accumulate, obgd, trace_step


@pytest.mark.parametrize("td_error", [0.0, 1e-12, -0.3, 4.0])
@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_a_step_is_bounded_as_in_the_paper(td_error: float, scale: float) -> None:
    """Algorithm 3: M = kappa lr max(|d|, 1) |e|_1, step lr / max(M, 1), by hand in float64."""
    trace = {"a": scale * np.asarray([1.0, -2.0]), "b": scale * np.asarray([[0.5]])}
    norm = sum(np.abs(e).sum() for e in trace.values())
    rate = 0.5 / max(1.0, 2.5 * 0.5 * max(abs(td_error), 1.0) * norm)
    optimizer = obgd(0.5, kappa=2.5)
    descent = {name: jnp.asarray(-td_error * e, jnp.float32) for name, e in trace.items()}
    updates, _ = jax.jit(optimizer.update)(descent, optimizer.init(descent), td_error=jnp.float32(td_error))
    for name, e in trace.items():
        np.testing.assert_allclose(updates[name], rate * td_error * e, rtol=1e-5, atol=1e-12)


def test_a_step_never_overshoots_a_linear_value() -> None:
    features = jnp.asarray([3.0, -40.0, 500.0])
    learner = Learner.create({"params": jnp.zeros(3)}, obgd())
    td_error = jnp.float32(1000.0)
    descent = {"params": -td_error * features}
    moved, _ = apply_gradients(descent, learner, obgd(), td_error=td_error)
    assert 0 < float(moved.params["params"] @ features) < 1000


@pytest.mark.parametrize("name", ["learning_rate", "kappa"])
def test_rates_of_nothing_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=rf"obgd {name} \(0\) must be greater than 0"):
        obgd(**{name: 0})


def test_a_trace_decays_by_the_discount_into_the_state() -> None:
    """Discounts 0.4 then 0 out of two states, lambda 0.8, rewards 0 and 1: weights 0.032 and 0.1."""
    weights, trace, discount_into = np.zeros(2), jnp.zeros(2), 0.0
    for state, reward, discount in ((0, 0.0, 0.4), (1, 1.0, 0.0)):
        trace = accumulate(trace, jax.nn.one_hot(state, 2), 0.8 * discount_into)
        following = weights[state + 1] if discount else 0.0
        weights = weights + 0.1 * (reward + discount * following - weights[state]) * np.asarray(trace)
        discount_into = discount
    np.testing.assert_allclose(weights, [0.032, 0.1], rtol=1e-6)


def test_a_decay_of_zero_forgets_what_is_not_finite() -> None:
    np.testing.assert_array_equal(accumulate(jnp.full(2, jnp.nan), jnp.ones(2), jnp.float32(0.0)), 1.0)


def test_a_trace_survives_its_learner_and_not_its_episode() -> None:
    traced = TracedLearner.create({"params": jnp.zeros(2), "other": jnp.ones(2)}, obgd(0.1, kappa=0.1))

    def step(done: bool) -> TracedLearner:
        objective = lambda variables: (variables["params"] @ variables["other"], {"metric": jnp.zeros(())})  # noqa: E731
        before = traced.replace(trace={"params": jnp.asarray([1.0, 0.0])})
        after, metrics = trace_step(objective, before, 0.5, jnp.float32(2.0), jnp.asarray(done), obgd(0.1, kappa=0.1))
        assert set(metrics) == {"metric", "gradient_norm", "skipped_updates"}
        return after

    np.testing.assert_allclose(step(False).trace["params"], [1.5, 1.0])
    np.testing.assert_allclose(step(True).trace["params"], [0.0, 0.0])
    np.testing.assert_allclose(step(True).variables["params"], 0.1 * 2 * np.asarray([1.5, 1.0]), rtol=1e-6)
    np.testing.assert_array_equal(step(True).variables["other"], 1.0)


def test_a_gradient_that_is_not_finite_is_left_out_of_the_trace() -> None:
    traced = TracedLearner.create({"params": jnp.zeros(2)}, obgd(0.1, kappa=0.1))
    traced = traced.replace(trace={"params": jnp.asarray([1.0, 0.0])})

    def step(features: list[float], td_error: float) -> TracedLearner:
        objective = lambda variables: (variables["params"] @ jnp.asarray(features), {})  # noqa: E731
        return trace_step(objective, traced, 0.5, jnp.float32(td_error), jnp.asarray(False), obgd(0.1, kappa=0.1))[0]

    np.testing.assert_array_equal(step([jnp.nan, 1.0], 1.0).trace["params"], [0.5, 0.0])
    # A TD error that is not finite moves nothing, and the trace goes on.
    after = step([1.0, 1.0], jnp.nan)
    np.testing.assert_array_equal(after.trace["params"], [1.5, 1.0])
    np.testing.assert_array_equal(after.variables["params"], 0.0)
