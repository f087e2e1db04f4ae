"""Passes over a batch: what the metrics say of them, and when they end."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.learning.epochs import epochs

NAN = float("nan")


def passes(losses: list[list[float]], **arguments: Any) -> tuple[int, dict[str, float]]:
    """The updates made and the metrics, for the losses of two minibatches in each pass; NaN is skipped."""
    table = jnp.asarray(losses, jnp.float32).reshape(-1)

    def update(state: Any, minibatch: Any) -> Any:
        loss = table[state]
        return state + 1, {"loss": loss, "actor_skipped_updates": jnp.isnan(loss).astype(jnp.float32)}

    made, metrics = jax.jit(
        lambda key: epochs(key, jnp.zeros((), jnp.int32), jnp.zeros((4, 1)), len(losses), 2, update, **arguments)
    )(jax.random.key(0))
    return int(made), {name: float(value) for name, value in metrics.items()}


def test_metrics_are_means_of_the_last_pass_and_skipped_updates_of_all() -> None:
    assert passes([[1, 2], [3, 5]]) == (4, {"loss": 4.0, "actor_skipped_updates": 0.0})
    assert passes([[1, 2], [3, NAN]])[1]["actor_skipped_updates"] == 0.25


@pytest.mark.parametrize("losses", [[[NAN, 1], [3, 5], [3, 5]], [[1, 1], [3, NAN], [3, 5]], [[1, 1], [2, 2], [NAN, 3]]])
def test_a_loss_that_was_nan_in_any_pass_shows(losses: list[list[float]]) -> None:
    made, metrics = passes(losses)
    assert made == 6 and np.isnan(metrics["loss"])
    assert metrics["actor_skipped_updates"] == pytest.approx(1 / 6)


def test_the_last_pass_says_whether_there_is_another() -> None:
    def small(metrics: Any) -> Any:
        return ~(jnp.nanmean(metrics["loss"]) > 5)

    assert passes([[1, 2], [10, 20], [1, 2]], continue_while=small) == (4, {"loss": 15.0, "actor_skipped_updates": 0.0})
    # One minibatch that was skipped neither ends the passes nor keeps them going.
    assert passes([[NAN, 1], [NAN, 20], [1, 2]], continue_while=small)[0] == 4
    assert passes([[NAN, NAN], [1, 2]], continue_while=small)[0] == 4
