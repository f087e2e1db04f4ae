"""Diagonal linear systems that do not change with time, one for each channel, in parallel over chunks, with resets."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

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
    The backward pass of a sequence is written by hand: forward mode (`jax.jvp`) is not supported.

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
    # Here already, since the gradient of whatever reads the state multiplies it, and zero times NaN is NaN.
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    if time == 1:
        driven = (gain[None] * inputs[:, 0, None])[None]
        state, _ = linear_recurrence(jnp.exp(log_decay), driven, done.T, initial_state)
        return state, _read(state, readout[None])

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
    """Run the system over whole chunks of `Q` steps.

    With `a = exp(log_decay)`, step `i` of a chunk (from 0) whose episode began before it is read as

        y_i = sum_{j<=i} Re(sum_n c_n a_n^(i-j) b_n) x_j + Re(sum_n c_n a_n^(i+1) h_n)

    with `b` the gain, `c` the readout and `h` `[N, H]` the state before the chunk: a convolution with a real kernel
    `[Q, H]`, and `h` read with `Q` readouts. The state after the chunk is `a^Q h + sum_j a^(Q-1-j) b x_j` over the
    inputs of the episode that the chunk ends in.
    """
    batch_size, time, channels = inputs.shape
    powers = jnp.exp(jnp.arange(length + 1, dtype=jnp.float32)[:, None, None] * log_decay[None])  # [Q + 1, N, H]
    kernel = jnp.sum((powers[:-1] * (gain * readout)[None]).real, axis=1)  # (Q, H)
    x, starts = inputs.reshape(-1, length, channels), done.reshape(-1, length)  # [B * C, Q, ...]
    episode = jnp.cumsum(starts, axis=1)  # episodes begun in the chunk, 0 where it was carried into it
    outputs = _convolve(x, kernel, episode)
    last = where(episode == episode[:, -1:], x, jnp.zeros_like(x))
    update = _mix(last, _parts(powers[:-1][::-1] * gain[None]))  # (B * C, 2 N, H), real parts before imaginary ones
    real, imaginary = jnp.split(update.reshape(batch_size, -1, *update.shape[1:]).swapaxes(0, 1), 2, axis=2)
    reset = starts.any(1).reshape(batch_size, -1).T
    final_state, states = linear_recurrence(powers[-1], jax.lax.complex(real, imaginary), reset, initial_state)
    states = jnp.concatenate([initial_state[None], states[:-1]])  # before each chunk, [C, B, N, H]
    states = states.swapaxes(0, 1).reshape(-1, *initial_state.shape[1:])
    carried = _read(states, powers[1:] * readout[None])
    outputs = outputs + where(episode == 0, carried, jnp.zeros_like(carried))
    return final_state, outputs.reshape(batch_size, time, channels)


def _read(states: Array, readout: Array) -> Array:
    """`Re(sum_n readout_qnh states_rnh)`, `[R, Q, H]`: a real product, as `Re(z w) = Re z Re w - Im z Im w`."""
    return _mix(_parts(states), _parts(readout.conj()).swapaxes(0, 1))


@jax.custom_vjp
def _mix(x: Array, weights: Array) -> Array:
    """`sum_q x_rqh weights_qmh`, `[R, M, H]`, of `x` `[R, Q, H]` and `weights` `[Q, M, H]`.

    It is a matrix product for each channel `h`. XLA would move `h` to the front for it, which copies both; as a sum of
    `Q` elementwise products, of which there are few, nothing is moved.
    """
    return functools.reduce(jnp.add, [x[:, q, None] * weights[None, q] for q in range(x.shape[1])])


def _mix_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return _mix(x, weights), (x, weights)


def _mix_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """The gradients of `z_rmh = sum_q x_rqh w_qmh`, with `dz` `[R, M, H]`.

        dx_rqh = sum_m dz_rmh w_qmh          [R, Q, H], which is `_mix` with the other axis summed
        dw_qmh = sum_r x_rqh dz_rmh          [Q, M, H], a long sum over the rows: one contraction

    Automatic differentiation would make `Q` sums over rows for `dw`, each with a pass over `dz`.
    """
    x, weights = residuals
    d_weights = jnp.einsum("rqh,rmh->qmh", x, cotangent, precision="highest")
    return _mix(cotangent, weights.swapaxes(0, 1)), d_weights


_mix.defvjp(_mix_forward, _mix_backward)


@jax.custom_vjp
def _convolve(x: Array, kernel: Array, episode: Array) -> Array:
    """`y_i = sum_j kernel_{i-j} * x_j` over the `j <= i` of the same episode: `x` `[R, Q, H]`, `kernel` `[Q, H]`."""
    until = np.tri(x.shape[1], dtype=bool)
    return _sum_over_episode(x, jnp.stack([_shift(kernel, j) for j in range(x.shape[1])]), episode, until)


def _convolve_forward(x: Array, kernel: Array, episode: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return _convolve(x, kernel, episode), (x, kernel, episode)


def _convolve_backward(residuals: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, Array, None]:
    """The gradients of `y_i = sum_{j<=i} w_{i-j} x_j`, over pairs of one episode, with `dy` `[R, Q, H]`.

        dx_j = sum_{i>=j} w_{i-j} dy_i                      [R, Q, H], the same sum with the roles of i and j exchanged
        dw_k = sum_{r,i} dy_i x_{i-k}                       [Q, H]

    Automatic differentiation would keep the `Q` masked products of the forward pass; only `x` is kept here.
    """
    x, kernel, episode = residuals
    steps = range(x.shape[1])
    since = np.tri(x.shape[1], dtype=bool).T
    d_x = _sum_over_episode(cotangent, jnp.stack([_shift(kernel, j) for j in steps], axis=1), episode, since)
    d_kernel = []
    for lag in steps:
        same = episode[:, lag:] == episode[:, : x.shape[1] - lag]
        d_kernel.append((x[:, : x.shape[1] - lag] * cotangent[:, lag:] * same.astype(x.dtype)[..., None]).sum((0, 1)))
    return d_x, jnp.stack(d_kernel), None


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _sum_over_episode(x: Array, weights: Array, episode: Array, seen: np.ndarray) -> Array:
    """`sum_j x_rjh weights_jih` over the `j` of the same episode with `seen[i, j]`: `[R, Q, H]`.

    Args:
        x: `[R, Q, H]`.
        weights: `[Q, Q, H]`, by `j` and then `i`.
        episode: `[R, Q]`, which episode of the chunk a step is of.
        seen: `[Q, Q]` bool.
    """

    def term(j: int) -> Array:
        visible = (episode == episode[:, j, None]) & seen[None, :, j]
        return jnp.where(visible[..., None], x[:, j, None], 0.0) * weights[None, j]

    return functools.reduce(jnp.add, [term(j) for j in range(x.shape[1])])


def _shift(x: Array, steps: int) -> Array:
    """`[Q, H]` moved to later rows by `steps`, with zeros before."""
    return jnp.pad(x, ((steps, 0), (0, 0)))[: x.shape[0]]


def _parts(x: Array) -> Array:
    """Complex `[M, N, H]` to real and imaginary parts, `[M, 2 N, H]`."""
    return jnp.concatenate([x.real, x.imag], axis=1)
