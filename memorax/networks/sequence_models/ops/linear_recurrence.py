"""The diagonal linear recurrence `h_t = decay_t * h_{t-1} + inputs_t`, with resets between episodes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.types import Array, where

LONGEST_UNROLLED = 8
"""Sequences of up to so many steps are unrolled: on a CPU a loop costs a microsecond a step and hinders fusion."""


def linear_recurrence(decay: Array, inputs: Array, done: Array, initial_state: Array) -> tuple[Array, Array]:
    """Run `h_t = decay_t * h_{t-1} + inputs_t`, elementwise, with `h_{t-1} = 0` where `done_t`.

    Real or complex. Time comes first. Computed in the dtype of `initial_state`, whatever that of the inputs; the
    backward pass is the same recurrence run backwards. On a CPU it is a plain scan, elsewhere an associative scan,
    which has depth `O(log T)`. The backward pass is written by hand: forward mode (`jax.jvp`) is not supported.

    Args:
        decay: `[T, B, ...]`, of size 1 along axes where it is the same, or `[...]` where it is at every step.
        inputs: `[T, B, ...]`.
        done: `[T, B]` bool.
        initial_state: `[B, ...]`.

    Returns:
        `(final_state, states)`: `[B, ...]` and `[T, B, ...]`. Nothing from before a reset, not even a NaN,
        reaches what follows it.
    """
    decay, inputs = decay.astype(initial_state.dtype), inputs.astype(initial_state.dtype)
    if inputs.shape[0] == 1:
        decay = _every_step(decay, inputs)[0]
        state = _reset(done[0], decay * _reset(done[0], initial_state)) + inputs[0]
        return state, state[None]
    states = _linear_recurrence(decay, inputs, done, initial_state)
    return states[-1], states


@jax.custom_vjp
def _linear_recurrence(decay: Array, inputs: Array, done: Array, initial_state: Array) -> Array:
    if jax.default_backend() == "cpu":
        return _plain_scan(decay, inputs, done, initial_state)
    return _associative_scan(decay, inputs, done, initial_state)


def _forward(decay: Array, inputs: Array, done: Array, initial_state: Array) -> tuple[Array, tuple]:
    states = _linear_recurrence(decay, inputs, done, initial_state)
    return states, (decay, done, initial_state, states)


def _backward(residuals: tuple, d_states: Array) -> tuple:
    """The gradients, by the same recurrence run from the end.

    Write `h_t = a_t r_t h_{t-1} + x_t`, with `r_t = 0` where `done_t` and 1 elsewhere, and let `g_t` be all that `h_t`
    receives: its own cotangent `dh_t`, and what `h_{t+1}` passes on. Then

        g_t = dh_t + a_{t+1} r_{t+1} g_{t+1},    g_T = dh_T         [T, B, ...]
        dx_t = g_t,    da_t = g_t r_t h_{t-1},    dh_0 = a_1 r_1 g_1

    The first is a linear recurrence in reversed time, with the decay of the step after. JAX transposes complex products
    without conjugation, so that all of it holds for complex numbers as written. Only the states are kept, where
    differentiating an associative scan keeps arrays of each of its `log T` levels.
    """
    decay, done, initial_state, states = residuals
    reset_after = jnp.concatenate([done[1:], jnp.ones_like(done[:1])])[::-1]
    decay_after = jnp.concatenate([decay[1:], decay[:1]])[::-1] if decay.ndim == states.ndim else decay
    # g_t, (T, B, ...)
    d_inputs = _linear_recurrence(decay_after, d_states[::-1], reset_after, jnp.zeros_like(initial_state))[::-1]
    previous = _reset(done, jnp.concatenate([initial_state[None], states[:-1]]))  # r_t h_{t-1}, (T, B, ...)
    d_decay = d_inputs * previous
    if decay.ndim < states.ndim:
        d_decay = _sum_over_steps(d_decay)
    elif shared := tuple(axis for axis, size in enumerate(decay.shape) if size < states.shape[axis]):
        d_decay = d_decay.sum(shared, keepdims=True)
    d_initial = _reset(done[0], _every_step(decay, states)[0] * d_inputs[0])
    return d_decay, d_inputs, None, d_initial


_linear_recurrence.defvjp(_forward, _backward)


def _plain_scan(decay: Array, inputs: Array, done: Array, initial_state: Array) -> Array:
    varying = decay.ndim == inputs.ndim
    unroll = len(inputs) if len(inputs) <= LONGEST_UNROLLED else 1

    def body(state: Array, xs: tuple[Array, Array, Array | None]) -> tuple[Array, Array]:
        inputs, done, step_decay = xs
        state = (decay[None] if step_decay is None else step_decay) * _reset(done, state) + inputs
        return state, state

    return jax.lax.scan(body, initial_state, (inputs, done, decay if varying else None), unroll=unroll)[1]


def _associative_scan(decay: Array, inputs: Array, done: Array, initial_state: Array) -> Array:
    """The states `[T, B, ...]` in `O(log T)` rounds.

    An element `(r, a, h)` stands for some successive steps: whether one of them reset, the product of their decays, and
    the state after them from a state of zero. Two neighbours combine to `(r or r', a a', a' h + h')`, with `h'` alone
    where the later one reset. The first element takes the initial state in.
    """
    decay = _every_step(decay, inputs)
    first = inputs[0] + _reset(done[0], decay[0] * _reset(done[0], initial_state))
    inputs = jnp.concatenate([first[None], inputs[1:]])

    def combine(a: tuple[Array, Array, Array], b: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        (reset_a, decay_a, state_a), (reset_b, decay_b, state_b) = a, b
        # Selecting, not multiplying by zero, keeps a NaN from before a reset out of what follows.
        return reset_a | reset_b, decay_a * decay_b, where(reset_b, state_b, decay_b * state_a + state_b)

    return jax.lax.associative_scan(combine, (done, decay, inputs))[2]


def _sum_over_steps(x: Array) -> Array:
    """`[T, B, ...]` to `[...]`, real and imaginary parts apart: a CPU is several times slower at complex sums."""
    if jnp.iscomplexobj(x):
        return jax.lax.complex(x.real.sum((0, 1)), x.imag.sum((0, 1)))
    return x.sum((0, 1))


def _every_step(decay: Array, inputs: Array) -> Array:
    """A decay with time and batch axes, like the inputs."""
    if decay.ndim == inputs.ndim:
        return decay
    return jnp.broadcast_to(jnp.expand_dims(decay, (0, 1)), inputs.shape)


def _reset(done: Array, state: Array) -> Array:
    """Zeros where `done`."""
    return where(done, jnp.zeros_like(state), state)
