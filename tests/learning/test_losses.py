"""Means over the steps that count, and PPO's losses, by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from memorax.learning.losses import clipped_value_loss, explained_variance, standardize
from memorax.networks import heads

NAN = float("nan")


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1, -1e6])
def test_what_is_all_equal_is_standardized_to_zero(value: float) -> None:
    np.testing.assert_array_equal(standardize(jnp.full((8, 128), value)), 0)


def test_standardizing_leaves_out_what_does_not_count() -> None:
    values, mask = jnp.asarray([1.0, 3.0, NAN, 1e9]), jnp.asarray([True, True, False, False])
    np.testing.assert_allclose(standardize(values, mask)[:2], [-1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "targets", "mask", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], None, 1.0),
        ([2, 2, 2], [1, 2, 3], None, 0.0),
        ([3, 2, 1], [1, 2, 3], None, -3.0),
        ([0, 0, 0], [5, 5, 5], None, 0.0),
        ([1000.1, 1000.2, 1000.1], [1000.1] * 3, None, 0.0),
        ([3, 2, 1, 7, NAN], [1, 2, 3, 7, 0], [1, 1, 1, 0, 0], -3.0),
    ],
)
def test_the_explained_variance_is_that_of_the_steps_that_count(
    values: list[float], targets: list[float], mask: Any, expected: float
) -> None:
    mask = None if mask is None else jnp.asarray(mask, bool)
    found = explained_variance(jnp.asarray(values, jnp.float32), jnp.asarray(targets, jnp.float32), mask)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("huber", [None, 0.5])
def test_a_clipped_value_is_held_against_the_loss_of_its_head(huber: float | None) -> None:
    head = heads.VNetwork(heads.Scalar(huber))

    def loss(output: Any) -> Any:
        return clipped_value_loss(head, output, jnp.asarray(2.0), jnp.asarray(0.0), 0.2)

    value, slope = jax.value_and_grad(loss)(jnp.asarray(1.0))
    expected = 0.5 * 1.8**2 if huber is None else optax.huber_loss(jnp.asarray(0.2), jnp.asarray(2.0), delta=huber)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert slope == 0, "it gains nothing by moving further"
    np.testing.assert_allclose(loss(jnp.asarray(0.1)), head.loss(jnp.asarray(0.1), jnp.asarray(2.0)), rtol=1e-6)
