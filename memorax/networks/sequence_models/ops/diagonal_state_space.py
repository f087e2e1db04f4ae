"""Diagonal linear systems that do not change with time, one for each channel, chunk-parallel, with resets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.networks.sequence_models.ops.causal_convolution import causal_convolution
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.types import Array, where


def diagonal_state_space(
    log_decay: Array,
    gain: Array,
    readout: Array,
    inputs: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 8,
) -> tuple[Array, Array]:
    """Run `h_t = exp(log_decay) * h_{t-1} + gain * x_t`, read as `y_t = Re(sum_n readout_n h_tn)`.

    `h_{t-1} = 0` where `done_t`. Inside a chunk the system is a short convolution of the inputs, between chunks its
    state is carried (Gu et al., 2022, "Efficiently Modeling Long Sequences with Structured State Spaces", Section 2,
    for both forms): no state is kept for every step.

    Args:
        log_decay: complex `[N, H]`, real parts at most 0.
        gain: complex `[N, H]`.
        readout: complex `[N, H]`.
        inputs: `[B, T, H]`, float32.
        done: `[B, T]` bool.
        initial_state: complex64 `[B, N, H]`.
        chunk_length: steps per chunk; `T` need not be a multiple of it. It changes the speed, not the result.

    Returns:
        `(final_state, outputs)`: `[B, N, H]` and `[B, T, H]`. Nothing from before a reset, not even a NaN, reaches
        what follows it.
    """
    time = inputs.shape[1]
    if time == 1:
        driven = (gain[None] * inputs[:, 0, None])[None]
        state, _ = linear_recurrence(jnp.exp(log_decay), driven, done.T, initial_state)
        return state, jnp.sum(readout.real[None] * state.real - readout.imag[None] * state.imag, axis=1)[:, None]

    length = min(chunk_length, time)
    end = time // length * length
    if end < time:
        system = log_decay, gain, readout
        state, first = diagonal_state_space(*system, inputs[:, :end], done[:, :end], initial_state, length)
        state, rest = diagonal_state_space(*system, inputs[:, end:], done[:, end:], state, length)
        return state, jnp.concatenate([first, rest], axis=1)
    return _chunks(log_decay, gain, readout, inputs, done, initial_state, length)


def _chunks(
    log_decay: Array, gain: Array, readout: Array, inputs: Array, done: Array, initial_state: Array, length: int
) -> tuple[Array, Array]:
    batch_size, time, channels = inputs.shape
    powers = jnp.exp(jnp.arange(length + 1, dtype=jnp.float32)[:, None, None] * log_decay[None])  # [Q + 1, N, H]
    kernel = jnp.sum((powers[:-1] * (gain * readout)[None]).real, axis=1)
    x, starts = inputs.reshape(-1, length, channels), done.reshape(-1, length)  # [B * C, Q, ...]
    nothing = jnp.zeros((x.shape[0], length - 1, channels), x.dtype)
    _, outputs = causal_convolution(x, kernel[::-1], starts, nothing)

    episode = jnp.cumsum(starts, axis=1)
    last = where(episode == episode[:, -1:], x, jnp.zeros_like(x))
    update = jnp.einsum("rqh,qnh->rnh", last, _parts(powers[:-1][::-1] * gain[None]), precision="highest")
    real, imaginary = jnp.split(update.reshape(batch_size, -1, *update.shape[1:]).swapaxes(0, 1), 2, axis=2)
    reset = starts.any(1).reshape(batch_size, -1).T
    final_state, states = linear_recurrence(powers[-1], jax.lax.complex(real, imaginary), reset, initial_state)
    states = jnp.concatenate([initial_state[None], states[:-1]])  # before each chunk, [C, B, N, H]
    states = _parts(states.swapaxes(0, 1).reshape(-1, *initial_state.shape[1:]))
    carried = jnp.einsum("rnh,qnh->rqh", states, _parts((powers[1:] * readout[None]).conj()), precision="highest")
    outputs = outputs + where(episode == 0, carried, jnp.zeros_like(carried))
    return final_state, outputs.reshape(batch_size, time, channels)


def _parts(x: Array) -> Array:
    """Complex `[M, N, H]` to real and imaginary parts, `[M, 2 N, H]`."""
    return jnp.concatenate([x.real, x.imag], axis=1)
