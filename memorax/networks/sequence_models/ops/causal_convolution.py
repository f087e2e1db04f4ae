"""A causal depthwise convolution that carries its window, with resets."""

from __future__ import annotations

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
    padded = jnp.concatenate([window, inputs.astype(window.dtype)], axis=1)
    padded_done = jnp.pad(done, ((0, 0), (width - 1, 0)))

    same_episode = jnp.ones_like(done)
    outputs = padded[:, width - 1 :] * kernel[-1][None, None]
    for lag in range(1, width):
        same_episode = same_episode & ~padded_done[:, width - lag : width - lag + time]
        tap = padded[:, width - 1 - lag : width - 1 - lag + time]
        outputs = outputs + where(same_episode, tap, jnp.zeros_like(tap)) * kernel[width - 1 - lag][None, None]

    # A place in the new window is kept if no episode starts after it.
    starts_from = jnp.cumsum(padded_done[:, ::-1][:, : width - 1], axis=1)
    starts_after = (starts_from - padded_done[:, ::-1][:, : width - 1])[:, ::-1]
    tail = padded[:, time:]
    return where(starts_after == 0, tail, jnp.zeros_like(tail)), outputs.astype(inputs.dtype)
