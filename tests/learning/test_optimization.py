"""Gradient steps that survive what is not finite, and target networks that count updates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.learning.optimization import gradient_step, target_update

PARAMS = {"weight": jnp.array([1.0, -2.0]), "bias": jnp.array(0.5)}
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))


def loss_fn(params, target):
    error = params["weight"] + params["bias"] - target
    return jnp.sum(error**2), {"error": jnp.abs(error).max()}


@jax.jit
def step(params, optimizer_state, target):
    return gradient_step(lambda params: loss_fn(params, target), params, OPTIMIZER, optimizer_state)


def test_a_finite_gradient_is_descended():
    state, target = OPTIMIZER.init(PARAMS), jnp.array([0.0, 1.0])
    params, new_state, metrics = step(PARAMS, state, target)
    (loss, _), gradients = jax.value_and_grad(loss_fn, has_aux=True)(PARAMS, target)
    updates, expected_state = OPTIMIZER.update(gradients, state, PARAMS)
    expected = (optax.apply_updates(PARAMS, updates), expected_state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), (params, new_state), expected)
    np.testing.assert_allclose(metrics["loss"], loss)
    np.testing.assert_allclose(metrics["error"], 2.5)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradients), rtol=1e-6)
    assert metrics["skipped_updates"] == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    state = OPTIMIZER.init(PARAMS)
    params, new_state, metrics = step(PARAMS, state, jnp.array([0.0, bad]))
    jax.tree.map(np.testing.assert_array_equal, (params, new_state), (PARAMS, state))
    assert metrics["skipped_updates"] == 1
    assert not np.isfinite(metrics["gradient_norm"])


def test_steps_in_a_scan_over_seeds():
    """One seed meets a NaN on its way; it skips that update alone, and the other seed does not notice."""
    targets = jnp.zeros((2, 40, 2)).at[0, 7].set(jnp.nan)

    def train(targets):
        def body(carry, target):
            params, state, metrics = step(*carry, target)
            return (params, state), metrics

        return jax.lax.scan(body, (PARAMS, OPTIMIZER.init(PARAMS)), targets)

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
    moved = target_update(PARAMS, targets, 1, tau=0.25)
    np.testing.assert_allclose(moved["weight"], [0.25, -0.5])
    np.testing.assert_allclose(moved["bias"], 0.875)
    jax.tree.map(np.testing.assert_array_equal, target_update(PARAMS, targets, 1), PARAMS)
