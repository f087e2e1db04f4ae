"""Causal attention over the current episode, limited to a window of the last inputs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, where

Bias = Callable[[Array], Array]


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
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Bias,
) -> tuple[Array, Array, Array]:
    """Softmax attention of each query over the last `L` inputs of its episode, its own included.

    The cache is a ring: the input at a position lies in slot `position % L`, and slots that hold nothing of the
    current episode are zero, so that one step writes one slot. A sequence is computed in blocks of `L` queries
    against `2 L` keys, so that memory grows with `T * L`.

    Args:
        queries: `[B, H, T, D]`.
        keys: `[B, H, T, D]`.
        values: `[B, H, T, D]`.
        positions: `[B, T]`, how many inputs of its episode came before each (see `count_positions`).
        cached_keys: `[B, H, L, D]`, of the inputs before the first.
        cached_values: `[B, H, L, D]`.
        bias: what to add to the scores, as in `PositionalEmbedding.bias`.

    Returns:
        `(cached_keys, cached_values, outputs)`: the cache after the last input, and `[B, H, T, D]` in the dtype of
        the queries. Nothing from outside the window, not even a NaN, reaches an output.
    """
    fresh = positions[:, 0] == 0
    cached_keys, cached_values = (where(fresh, jnp.zeros_like(x), x) for x in (cached_keys, cached_values))
    keys, values = keys.astype(cached_keys.dtype), values.astype(cached_values.dtype)
    if queries.shape[2] == 1:
        return _step(queries, keys, values, positions, cached_keys, cached_values, bias)
    return _sequence(queries, keys, values, positions, cached_keys, cached_values, bias)


def _step(
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Bias,
) -> tuple[Array, Array, Array]:
    length = cached_keys.shape[2]
    slots = jnp.arange(length)[None]
    written = (slots == positions % length)[:, None, :, None]
    keys, values = jnp.where(written, materialize(keys), cached_keys), jnp.where(written, values, cached_values)
    ages = ((positions - slots) % length)[:, None]  # [B, 1, L]
    visible = (slots <= positions)[:, None, None]
    return keys, values, _attend(queries, keys, values, visible, bias(ages))


def _sequence(
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Bias,
) -> tuple[Array, Array, Array]:
    time, length = queries.shape[2], cached_keys.shape[2]
    block = min(time, length)
    oldest = positions[:, :1]  # the first input's position: the slot it goes to holds what is oldest
    order = (oldest + jnp.arange(1, length)[None]) % length
    keys, values = (
        jnp.concatenate([_reorder(cached, order), new], axis=2)
        for cached, new in ((cached_keys, keys), (cached_values, values))
    )  # [B, H, L - 1 + T, D], by time
    cache = _remember(keys, positions[:, -1:], length), _remember(values, positions[:, -1:], length)

    finite_values, poison = _separate_nonfinite(values.astype(queries.dtype))
    key_windows = _windows(keys.astype(queries.dtype), time, length)  # [B, H, N, K, D]
    value_windows, poison = _windows(finite_values, time, length), _windows(poison, time, length)
    num_keys = key_windows.shape[3]
    ages = np.arange(block)[:, None] + num_keys - block - np.arange(num_keys)[None]  # [Q, K]
    reach = jnp.minimum(_blocks(positions[:, None, :, None], block), length - 1)  # [B, 1, N, Q, 1]
    visible = jnp.asarray(ages >= 0)[None, None, None] & (ages[None, None, None] <= reach)
    score_bias = bias(jnp.asarray(ages)[None])[:, :, None] + poison.swapaxes(3, 4)
    outputs = _attend(_blocks(queries, block), key_windows, value_windows, visible, score_bias)
    return *cache, outputs.reshape(*queries.shape[:2], -1, queries.shape[-1])[:, :, :time]


def _attend(queries: Array, keys: Array, values: Array, visible: Array, bias: Array) -> Array:
    """`softmax(queries keys^T / sqrt(D) + bias) values` where `visible`, over the last two axes, in float32."""
    dtype = queries.dtype
    queries = queries * queries.shape[-1] ** -0.5
    scores = jnp.einsum("...qd,...kd->...qk", queries, keys.astype(dtype), preferred_element_type=jnp.float32)
    scores = jnp.where(visible, scores + bias, -jnp.inf)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    outputs = jnp.einsum("...qk,...kd->...qd", weights.astype(dtype), values.astype(dtype))
    return outputs / weights.sum(axis=-1, keepdims=True).astype(dtype)


def _remember(x: Array, position: Array, length: int) -> Array:
    """The ring after the last input, at `position` `[B, 1]`, from `[B, H, L - 1 + T, D]` by time."""
    ages = jnp.arange(length - 1, -1, -1)[None]
    current = (ages <= position)[:, None, :, None]
    order = (jnp.arange(length)[None] - position - 1) % length
    return _reorder(jnp.where(current, x[:, :, -length:], 0), order)


def _reorder(x: Array, order: Array) -> Array:
    """`[B, H, L, D]` with its slots in the order `[B, K]`."""
    return jnp.take_along_axis(x, order[:, None, :, None], axis=2, mode="clip")


def _blocks(x: Array, length: int) -> Array:
    """`[B, H, T, D]` to `[B, H, ceil(T / length), length, D]`, padded with zeros."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -x.shape[2] % length), (0, 0)))
    return x.reshape(*x.shape[:2], -1, length, x.shape[-1])


def _windows(x: Array, time: int, length: int) -> Array:
    """What each block of queries may see, ending with its own: `[B, H, L - 1 + T, D]` to `[B, H, N, K, D]`."""
    if time <= length:
        return x[:, :, None]
    blocks = _blocks(jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0))), length)
    return jnp.concatenate([blocks[:, :, :-1], blocks[:, :, 1:]], axis=3)


def _separate_nonfinite(values: Array) -> tuple[Array, Array]:
    """Zeros in place of NaN and infinity in `[..., K, D]`, and `[..., K, 1]` that is NaN where there were any.

    A weight of zero would spread them, as zero times NaN is NaN; the mark goes through selections only.
    """
    finite = jnp.isfinite(values)
    return jnp.where(finite, values, 0), jnp.where(finite.all(-1, keepdims=True), 0.0, jnp.nan)
