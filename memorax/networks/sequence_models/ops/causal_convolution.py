"""Causal depthwise convolution over time, with the last inputs as its carry and resets between episodes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.types import Array, where


def causal_convolution(inputs: Array, kernel: Array, done: Array, window: Array) -> tuple[Array, Array]:
    """Run `y_t = sum_k kernel[K - 1 - k] * x_{t-k}` over the inputs `x` of the current episode.

    Args:
        inputs: `[B, T, D]`.
        kernel: `[K, D]`, the newest input last.
        done: `[B, T]` bool, true at the first input of an episode: what precedes it counts as zero.
        window: the `K - 1` inputs before the first, `[B, K - 1, D]`, zero where they are not of this episode.

    Returns:
        `(window, outputs)`: the window after the last input, in the dtype of `window`, and `[B, T, D]` in that of
        `inputs`.
    """
    width, time = kernel.shape[0], inputs.shape[1]
    padded = jnp.concatenate([window, inputs.astype(window.dtype)], axis=1)  # (B, K - 1 + T, D)
    outputs = _convolve(padded, kernel, done)  # (B, T, D)

    # The new window is the last K - 1 inputs; one is kept if no episode starts after it.
    padded_done = jnp.pad(done, ((0, 0), (width - 1, 0)))  # (B, K - 1 + T)
    starts_from = jnp.cumsum(padded_done[:, ::-1][:, : width - 1], axis=1)
    starts_after = (starts_from - padded_done[:, ::-1][:, : width - 1])[:, ::-1]  # (B, K - 1)
    tail = padded[:, time:]  # (B, K - 1, D)
    return where(starts_after == 0, tail, jnp.zeros_like(tail)), outputs.astype(inputs.dtype)


@jax.custom_jvp
def _convolve(padded: Array, kernel: Array, done: Array) -> Array:
    """The outputs `[B, T, D]`, of window and inputs `[B, K - 1 + T, D]`."""
    return _weighted_sum(_taps(padded, done, kernel.shape[0]), kernel)


@_convolve.defjvp
def _convolve_tangent(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """The tangent of `y_t = sum_k w_k x_{t-k}`, where `w_k = kernel[K - 1 - k]` and `k` ends at the episode's start.

    The sum over the tangents of the inputs is written by the step that is read, `s`, which adds `w_k dx_s` to step
    `s + k`. Its transpose, the gradient, then reads slices of one padded array,

        dx_s = sum_k w_k dy_{s+k}           over the k whose step s + k is of the same episode,

    where that of the sum by the step that reads, `t`, would scatter slices of `dx` back one by one.
    """
    (padded, kernel, done), (d_padded, d_kernel, _) = primals, tangents
    width, time = kernel.shape[0], done.shape[1]
    taps = _taps(padded, done, width)
    written: Array | float = 0.0  # (B, T + 2 (K - 1), D)
    for lag, (same_episode, weights) in enumerate(zip(_same_episode(done, width), kernel[::-1], strict=True)):
        same_episode = jnp.pad(same_episode, ((0, 0), (width - 1 - lag, lag)))
        share = where(same_episode, d_padded * weights[None, None], jnp.zeros_like(d_padded))
        written = written + jnp.pad(share, ((0, 0), (lag, width - 1 - lag), (0, 0)))
    by_inputs = jnp.asarray(written)[:, width - 1 : width - 1 + time]
    return _weighted_sum(taps, kernel), by_inputs + _weighted_sum(taps, d_kernel)


def _weighted_sum(taps: list[Array], kernel: Array) -> Array:
    """`sum_k kernel[K - 1 - k] * taps[k]`, `[B, T, D]`."""
    return sum(tap * weights[None, None] for tap, weights in zip(taps, kernel[::-1], strict=True))


def _taps(padded: Array, done: Array, width: int) -> list[Array]:
    """The input 0, 1, ... `width - 1` steps before each step, each `[B, T, D]`, zero where it is of another episode."""
    steps = (padded[:, width - 1 - lag :][:, : done.shape[1]] for lag in range(width))
    return [where(same, x, jnp.zeros_like(x)) for same, x in zip(_same_episode(done, width), steps, strict=True)]


def _same_episode(done: Array, width: int) -> list[Array]:
    """Whether the step 0, 1, ... `width - 1` steps earlier is of the same episode, each `[B, T]` bool.

    Steps of the window count as of the episode that `inputs` begin in: where they are not, the window holds zeros.
    """
    padded = jnp.pad(done, ((0, 0), (width - 1, 0)))
    same = [jnp.ones_like(done)]
    for lag in range(1, width):
        same.append(same[-1] & ~padded[:, width - lag :][:, : done.shape[1]])
    return same
