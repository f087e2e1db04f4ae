"""Gradient steps that survive what is not finite, and target networks that count updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.learning.optimization import Learner, gradient_step, linear_decay, target_update
from memorax.testing import check_close

PARAMS = {"params": {"weight": jnp.array([1.0, -2.0]), "bias": jnp.array(0.5)}}
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))


LEARNER = Learner.create(PARAMS, OPTIMIZER)


def loss_fn(variables, target):
    error = variables["params"]["weight"] + variables["params"]["bias"] - target
    return jnp.sum(error**2), ({"error": jnp.abs(error).max()}, error)


@jax.jit
def step(learner, target):
    return gradient_step(lambda variables: loss_fn(variables, target), learner, OPTIMIZER)


def test_a_finite_gradient_is_descended():
    state, target = OPTIMIZER.init(PARAMS), jnp.array([0.0, 1.0])
    learner, metrics, error = step(LEARNER, target)
    params, new_state = learner.params, learner.optimizer_state
    (loss, _), gradients = jax.value_and_grad(loss_fn, has_aux=True)(PARAMS, target)
    updates, expected_state = OPTIMIZER.update(gradients, state, PARAMS)
    expected = (optax.apply_updates(PARAMS, updates), expected_state)
    check_close((params, new_state), expected, 1e-6)
    check_close(metrics["loss"], loss, 1e-6)
    check_close(metrics["error"], 2.5, 1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradients), rtol=1e-6)
    np.testing.assert_allclose(error, [1.5, -2.5])
    assert metrics["skipped_updates"] == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    learner, metrics, _ = step(LEARNER, jnp.array([0.0, bad]))
    jax.tree.map(np.testing.assert_array_equal, learner, LEARNER)
    assert metrics["skipped_updates"] == 1
    assert not np.isfinite(metrics["gradient_norm"])


def test_steps_in_a_scan_over_seeds():
    """One seed meets a NaN on its way; it skips that update alone, and the other seed does not notice."""
    targets = jnp.zeros((2, 40, 2)).at[0, 7].set(jnp.nan)

    def train(targets):
        return jax.lax.scan(lambda learner, target: step(learner, target)[:2], LEARNER, targets)

    _, metrics = jax.vmap(train)(targets)
    np.testing.assert_array_equal(metrics["skipped_updates"].sum(axis=1), [1, 0])
    assert (metrics["loss"][:, -1] < 0.1 * metrics["loss"][:, 0]).all()
    np.testing.assert_array_equal(metrics["loss"][0, 8:], metrics["loss"][1, 7:-1])


def test_the_target_is_copied_every_period_of_updates():
    def body(target, num_updates):
        target = target_update(num_updates.astype(jnp.float32), target, num_updates, period=3)
        return target, target

    _, targets = jax.lax.scan(body, jnp.array(0.0), jnp.arange(1, 11))
    np.testing.assert_array_equal(targets, [0, 0, 3, 3, 3, 6, 6, 6, 9, 9])


def test_the_target_moves_by_tau():
    targets = {"weight": jnp.zeros(2), "bias": jnp.array(1.0)}
    moved = target_update(PARAMS["params"], targets, 1, tau=0.25)
    np.testing.assert_allclose(moved["weight"], [0.25, -0.5])
    np.testing.assert_allclose(moved["bias"], 0.875)
    jax.tree.map(np.testing.assert_array_equal, target_update(PARAMS["params"], targets, 1), PARAMS["params"])


def test_collections_other_than_params_are_not_trained():
    learner = Learner.create({**PARAMS, "constants": {"scale": jnp.array(3.0)}}, OPTIMIZER)

    def loss(variables):
        return variables["constants"]["scale"] * jnp.sum(variables["params"]["weight"] ** 2), ({}, None)

    after, _, _ = gradient_step(loss, learner, OPTIMIZER)
    assert after.variables["constants"]["scale"] == 3.0
    assert not np.array_equal(after.params["params"]["weight"], PARAMS["params"]["weight"])


@pytest.mark.parametrize("inner", [optax.sgd(1.0), optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(1.0))])
def test_a_linear_decay_follows_environment_steps_and_not_updates(inner):
    """Twenty iterations of 512 steps: the first at the full rate, the last at a twentieth, however many updates."""
    optimizer = optax.chain(inner, linear_decay(20 * 512))
    learner = Learner.create({"params": jnp.zeros(())}, optimizer)
    rates = []
    for iteration in (0, 10, 19, 25):
        for _ in range(2):
            after, _, _ = gradient_step(lambda v: (-v["params"], ({}, None)), learner, optimizer, step=iteration * 512)
            rates.append(float(after.params["params"] - learner.params["params"]))
            learner = after
    np.testing.assert_allclose(rates, np.repeat([1.0, 0.5, 0.05, 0.0], 2), atol=1e-6)
    for total_steps in (0, 2**31):
        with pytest.raises(ValueError, match=rf"^total_steps \({total_steps}\) of .* between 1 and 2147483647"):
            linear_decay(total_steps)


@pytest.mark.parametrize("optimizer", ["adam", None, optax.adam])
def test_what_is_no_optimizer_is_an_error(optimizer):
    with pytest.raises(ValueError, match=r"^optimizer \(.*\) must be one of Optax, such as optax.adam\(1e-3\)$"):
        Learner.create(PARAMS, optimizer)
