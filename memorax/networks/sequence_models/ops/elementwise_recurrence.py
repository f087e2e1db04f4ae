"""Nonlinear recurrences without a matrix product: each unit sees only its own past."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from memorax.types import Array, PyTree, where


def elementwise_recurrence(
    step: Callable[[PyTree, PyTree, PyTree], PyTree], weights: PyTree, inputs: PyTree, done: Array, state: PyTree
) -> tuple[PyTree, PyTree]:
    """Run `state_t = step(weights, inputs_t, state_{t-1})` over time, from zero where `done_t`.

    Time comes first.

    Args:
        step: elementwise `(weights, inputs of one step, state) -> state`.
        weights: parameters that are the same at every step, leaves that broadcast against those of the state.
        inputs: leaves `[T, B, ...]`.
        done: `[T, B]` bool; the state becomes zero before that step.
        state: the state before the first step, leaves `[B, ...]`.

    Returns:
        `(state, states)`: the state after the last step, and after every step, leaves `[T, B, ...]`.
    """

    def body(state: PyTree, xs: tuple[PyTree, Array]) -> tuple[PyTree, PyTree]:
        inputs, done = xs
        state = step(weights, inputs, where(done, jax.tree.map(jnp.zeros_like, state), state))
        return state, state

    return jax.lax.scan(body, state, (inputs, done))
