"""Gated nonlinear recurrences (GRU, LSTM and their like): one matrix product per step, and a derived backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from memorax.types import Array, PyTree, where

Gates = tuple[Array, ...]
Step = Callable[[Gates, Gates, PyTree], PyTree]


def recurrence(
    step: Step, kernel: Array, bias: Array, gates: Gates, done: Array, state: PyTree, start: PyTree
) -> tuple[PyTree, Array]:
    """Run `state_t = step(gates_t, hidden_{t-1} @ kernel + bias, state_{t-1})` over time.

    The hidden vector is the last leaf of the state: `h` of a GRU, `h` of an LSTM's `(c, h)`. Time comes first. The
    input gates are an array each: sliced out of a wider one at every step, they keep a CPU from vectorizing the step,
    which then takes twice the time.
    The backward pass of a sequence is written by hand: forward mode (`jax.jvp`) is not supported.

    Args:
        step: elementwise `(input gates, recurrent gates, state) -> state`, each gate `[B, H]`.
        kernel: recurrent kernel `[H, G * H]` of all `G` gates.
        bias: `[G * H]`.
        gates: the `G` input projections, each `[T, B, H]`.
        done: `[T, B]` bool; the state becomes `start` before that step.
        state: the state before the first step, leaves `[B, H]`; the recurrence is computed in its dtype.
        start: the state at the start of an episode, like `state`; a constant, no gradient reaches it.

    Returns:
        `(state, hidden)`: the state after the last step, and the hidden vectors `[T, B, H]`.
    """
    if done.shape[0] == 1:
        state = where(done[0], start, state)
        first = tuple(gate[0] for gate in gates)
        state = _advance(step, first, _recurrent_gates(kernel, bias, state, len(gates)), state)
        return state, _hidden(state)[None]
    return _recurrence(step, kernel, bias, gates, done, state, start)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(
    step: Step, kernel: Array, bias: Array, gates: Gates, done: Array, state: PyTree, start: PyTree
) -> tuple[PyTree, Array]:
    state, states = _scan(step, kernel, bias, gates, done, state, start)
    return state, _hidden(states)


def _forward(
    step: Step, kernel: Array, bias: Array, gates: Gates, done: Array, state: PyTree, start: PyTree
) -> tuple[tuple[PyTree, Array], tuple]:
    final, states = _scan(step, kernel, bias, gates, done, state, start)
    previous = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), state, states)
    starts = jax.tree.map(lambda x, all_steps: jnp.broadcast_to(x[None], all_steps.shape), start, previous)
    return (final, _hidden(states)), (kernel, bias, gates, done, where(done, starts, previous))


def _backward(step: Step, residuals: tuple, cotangents: tuple[PyTree, Array]) -> tuple:
    """The gradients, with that of the kernel as one product after the loop.

    A step is `p_t = h_{t-1} U + b` `[B, G H]` followed by the elementwise `s_t = step(x_t, p_t, s_{t-1})`, where `h` is
    the last leaf of the state `s`. Let `g_t` be all that `s_t` receives: what step `t + 1` passes on, and, on its leaf
    `h`, the cotangent of the output. Pulling `g_t` back through the elementwise part gives `dx_t`, `dp_t` and a first
    part of `ds_{t-1}`; the product adds `dp_t U^T` to its leaf `h`. Where `done_t`, step `t` started from a constant
    and `ds_{t-1} = 0`. Over all steps then

        dU = sum_t h_{t-1}^T dp_t        [H, G H]
        db = sum_{t,b} dp_t              [G H]

    Automatic differentiation would add up `dU` step by step within the loop, and keep every gate. Here only the states
    are kept: all `p_t` follow from them in one product before the loop, and all of `dU` in one product after it.
    """
    kernel, bias, gates, done, previous = residuals
    recurrent_gates = _recurrent_gates(kernel, bias, previous, len(gates))  # p of all steps, each gate (T, B, H)
    transposed = kernel.T  # (G H, H)

    def body(d_state: PyTree, xs: tuple) -> tuple[PyTree, tuple[Gates, Gates]]:
        gates, recurrent_gates, previous, done, d_hidden = xs
        _, pullback = jax.vjp(functools.partial(_advance, step), gates, recurrent_gates, previous)
        d_gates, d_recurrent, d_previous = pullback(_add_hidden(d_state, d_hidden))
        d_previous = _add_hidden(d_previous, jnp.concatenate(d_recurrent, axis=-1) @ transposed)
        return where(done, jax.tree.map(jnp.zeros_like, d_previous), d_previous), (d_gates, d_recurrent)

    d_final, d_hidden = cotangents
    xs = (gates, recurrent_gates, previous, done, d_hidden)
    d_state, (d_gates, d_recurrent) = jax.lax.scan(body, d_final, xs, reverse=True)
    d_products = jnp.concatenate(d_recurrent, axis=-1)  # (T, B, G H)
    # Time and batch as one axis: XLA would make a transposed copy of what it contracts over two.
    hidden = _hidden(previous).astype(kernel.dtype).reshape(-1, kernel.shape[0])
    d_kernel = hidden.T @ d_products.reshape(-1, kernel.shape[1])
    return d_kernel, d_products.sum((0, 1)), d_gates, None, d_state, None


_recurrence.defvjp(_forward, _backward)


def _scan(
    step: Step, kernel: Array, bias: Array, gates: Gates, done: Array, state: PyTree, start: PyTree
) -> tuple[PyTree, PyTree]:
    """The state after the last step, and after every step."""

    def body(state: PyTree, xs: tuple[Gates, Array]) -> tuple[PyTree, PyTree]:
        gates, done = xs
        state = where(done, start, state)
        state = _advance(step, gates, _recurrent_gates(kernel, bias, state, len(gates)), state)
        return state, state

    return jax.lax.scan(body, state, (gates, done))


def _recurrent_gates(kernel: Array, bias: Array, state: PyTree, num_gates: int) -> Gates:
    """`hidden @ kernel + bias`, cut into gates of `[..., H]` each."""
    product = _hidden(state).astype(kernel.dtype) @ kernel
    product = product + bias.reshape((1,) * (product.ndim - 1) + bias.shape)
    return tuple(jnp.split(product, num_gates, axis=-1))


def _advance(step: Step, gates: Gates, recurrent_gates: Gates, state: PyTree) -> PyTree:
    """The state after a step, in the dtype of the state before it."""
    return jax.tree.map(lambda new, old: new.astype(old.dtype), step(gates, recurrent_gates, state), state)


def _hidden(state: PyTree) -> Array:
    """The hidden vector: the last leaf of a state."""
    return jax.tree.leaves(state)[-1]


def _add_hidden(state: PyTree, hidden: Array) -> PyTree:
    """A state with something added to its hidden vector."""
    *others, last = jax.tree.leaves(state)
    return jax.tree.unflatten(jax.tree.structure(state), [*others, last + hidden.astype(last.dtype)])
