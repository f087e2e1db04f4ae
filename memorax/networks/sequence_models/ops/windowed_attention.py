"""Causal attention over the current episode, limited to a window of the last inputs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Array

Bias = Callable[[np.ndarray], Array]


def count_positions(done: Array, position: Array) -> Array:
    """How many inputs of its episode came before each.

    Args:
        done: `[B, T]` bool, true at the first input of an episode.
        position: `[B]` int32, how many inputs of the current episode came before the first.

    Returns:
        `[B, T]` int32, 0 where `done`.
    """
    time = jnp.arange(done.shape[1], dtype=position.dtype)[None]
    start = jnp.where(done, time, -position[:, None])
    return time - jax.lax.cummax(start, axis=1)


def windowed_attention(
    queries: Array, keys: Array, values: Array, positions: Array, context_length: int, bias: Bias
) -> Array:
    """Softmax attention of each query over the last `context_length` inputs of its episode, its own included.

    Computed in blocks of `context_length` queries against twice as many keys, so that memory grows with
    `T * context_length`.

    Args:
        queries: `[B, H, T, D]`.
        keys: `[B, H, context_length - 1 + T, D]`: of the inputs before the first query, oldest first, then of the
            queries' own inputs. With `T = 1` those of other episodes must be zero.
        values: as the keys.
        positions: `[B, T]`, how many inputs of its episode came before each query (see `count_positions`).
        context_length: size of the window.
        bias: what to add to the scores, as in `PositionalEmbedding.bias`.

    Returns:
        `[B, H, T, D]`. Nothing from outside the window, not even a NaN, reaches an output.
    """
    time = queries.shape[2]
    length = min(time, context_length)
    queries = _blocks(queries, length)  # [B, H, N, Q, D]
    poison = jnp.zeros((1, 1, 1, 1, 1))
    if time > 1:
        values, poison = _separate_nonfinite(values)
        poison = _windows(poison[..., None], time, context_length)[..., None, :, 0]  # [B, H, N, 1, K]
    keys, values = _windows(keys, time, context_length), _windows(values, time, context_length)  # [B, H, N, K, D]
    steps = np.arange(length)[:, None] + keys.shape[3] - length
    ages = steps - np.arange(keys.shape[3])[None]  # [Q, K]
    reach = jnp.minimum(_blocks(positions[:, None, :, None], length), context_length - 1)  # [B, 1, N, Q, 1]
    visible = (ages >= 0)[None, None, None] & (ages[None, None, None] <= reach)

    scale = queries.shape[-1] ** -0.5
    scores = jnp.einsum("bhnqd,bhnkd->bhnqk", queries * scale, keys, preferred_element_type=jnp.float32)
    scores = jnp.where(visible, scores + bias(ages)[None, :, None] + poison, -jnp.inf)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    outputs = jnp.einsum("bhnqk,bhnkd->bhnqd", weights.astype(values.dtype), values)
    outputs = outputs / weights.sum(axis=-1, keepdims=True).astype(values.dtype)
    return outputs.reshape(*outputs.shape[:2], -1, outputs.shape[-1])[:, :, :time]


def _blocks(x: Array, length: int) -> Array:
    """`[B, H, T, D]` to `[B, H, ceil(T / length), length, D]`, padded with zeros."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % length), (0, 0)))
    return x.reshape(*x.shape[:2], -1, length, x.shape[-1])


def _windows(x: Array, time: int, context_length: int) -> Array:
    """What each block of queries may see, ending with its own: `[B, H, context_length - 1 + T, D]` to 5 axes."""
    if time <= context_length:
        return x[:, :, None]
    blocks = _blocks(jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0))), context_length)
    return jnp.concatenate([blocks[:, :, :-1], blocks[:, :, 1:]], axis=3)


def _separate_nonfinite(values: Array) -> tuple[Array, Array]:
    """Zeros in place of NaN and infinity in `[..., K, D]`, and `[..., K]` that is NaN where there were any.

    A weight of zero would spread them, as zero times NaN is NaN; the mark goes through selections only.
    """
    finite = jnp.isfinite(values)
    return jnp.where(finite, values, 0), jnp.where(finite.all(-1), 0.0, jnp.nan)
