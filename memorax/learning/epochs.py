"""Several passes over one rollout, in minibatches of whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from memorax.learning.batching import minibatches
from memorax.types import Array, Key, Metrics, PyTree

State = TypeVar("State")


def check_minibatches(cfg: Any, batch_size: int, steps_per_sequence: int) -> None:
    """Check that a rollout can be dealt into minibatches.

    Args:
        cfg: hyperparameters with `num_envs`, `num_steps` and `num_minibatches`.
        batch_size: rows of a rollout: environments, times agents in each.
        steps_per_sequence: steps in a training sequence.

    Raises:
        ValueError: if `num_minibatches` does not divide the number of sequences.
    """
    count = batch_size * cfg.num_steps // steps_per_sequence
    if count % cfg.num_minibatches:
        name = "num_envs" if count == cfg.num_envs else "the number of sequences in a rollout"
        raise ValueError(
            f"{name} ({count}) must be divisible by num_minibatches ({cfg.num_minibatches}): "
            f"a minibatch is a set of whole sequences, here of {steps_per_sequence} steps"
        )


def epochs(
    key: Key,
    state: State,
    batch: PyTree,
    num_epochs: int,
    num_minibatches: int,
    update: Callable[[State, PyTree], tuple[State, Metrics]],
    continue_while: Callable[[Metrics], Array] | None = None,
) -> tuple[State, Metrics]:
    """Pass over a batch several times, each time in another order.

    Args:
        key: random key of the orders.
        state: state that the updates change.
        batch: leaves `[N, ...]`, one sequence per row.
        num_epochs: passes.
        num_minibatches: minibatches in a pass; divides `N`.
        update: `(state, minibatch) -> (state, metrics)`, the minibatch with leaves `[N / num_minibatches, ...]`.
        continue_while: whether a further pass is made, given the metrics `[num_minibatches]` of the last one; by
            default always.

    Returns:
        `(state, metrics)`, the metrics as means over the minibatches of the last pass made, NaN where they were in a
        pass before; those called `skipped_updates` as means over all passes made.
    """
    keys = jax.random.split(key, num_epochs)

    def epoch(key: Key, state: State) -> tuple[State, Metrics]:
        return jax.lax.scan(update, state, minibatches(key, batch, num_minibatches))

    def goes_on(loop: tuple[Array, Array, State, Metrics]) -> Array:
        return (loop[0] < num_epochs) & loop[1]

    def body(loop: tuple[Array, Array, State, Metrics]) -> tuple[Array, Array, State, Metrics]:
        index, _, state, before = loop
        state, metrics = epoch(keys[index], state)
        wanted = jnp.ones((), bool) if continue_while is None else continue_while(metrics)
        means = {name: jnp.mean(values) for name, values in metrics.items()}
        return index + 1, wanted, state, {name: _after_pass(name, index, before[name], means[name]) for name in means}

    shapes = jax.eval_shape(epoch, keys[0], state)[1]
    metrics = {name: jnp.zeros((), x.dtype) for name, x in shapes.items()}
    _, _, state, metrics = jax.lax.while_loop(
        goes_on, body, (jnp.zeros((), jnp.int32), jnp.ones((), bool), state, metrics)
    )
    return state, metrics


def _after_pass(name: str, passes: Array, before: Array, last: Array) -> Array:
    """A metric after one more pass, of which there were `passes` before."""
    if name.endswith("skipped_updates"):
        return (before * passes + last) / (passes + 1)
    # A loss that was NaN stays to be seen.
    return jnp.where(jnp.isnan(before), before, last)
