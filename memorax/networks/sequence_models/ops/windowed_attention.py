"""Causal attention over the current episode, limited to a window of the last inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, where


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
    bias: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Softmax attention of each query over the last `L` inputs of its episode, its own included.

    The cache is a ring: the input at a position lies in slot `position % L`, and slots that hold nothing of the
    current episode are zero, so that one step writes one slot. A sequence is computed in blocks of `L` queries
    against `2 L` keys, so that memory grows with `T * L`. `H / G` heads of queries, one after another, share a head
    of keys and values (Ainslie et al., 2023, "GQA", Section 2.2).

    Args:
        queries: `[B, H, T, D]`.
        keys: `[B, G, T, D]`, where `G` divides `H`.
        values: `[B, G, T, V]`.
        positions: `[B, T]`, how many inputs of its episode came before each (see `count_positions`).
        cached_keys: `[B, G, L, D]`, of the inputs before the first.
        cached_values: `[B, G, L, V]`.
        bias: what to add to the scores by age, how many inputs before the query the key was consumed: `[B, H, T, L]`,
            where any axis but the last may be 1.

    Returns:
        `(cached_keys, cached_values, outputs)`: the cache after the last input, and `[B, H, T, V]` in the dtype of
        the queries. Nothing from outside the window, not even a NaN, reaches an output.
    """
    fresh = positions[:, 0] == 0
    cached_keys, cached_values = (where(fresh, jnp.zeros_like(x), x) for x in (cached_keys, cached_values))
    keys, values = keys.astype(cached_keys.dtype), values.astype(cached_values.dtype)
    groups, run = keys.shape[1], _step if queries.shape[2] == 1 else _sequence
    queries, bias = _group(queries, groups), None if bias is None else _group(bias, groups)
    keys, values, outputs = run(queries, keys, values, positions, cached_keys, cached_values, bias)
    return keys, values, outputs.reshape(outputs.shape[0], -1, *outputs.shape[3:])


def _step(
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Array | None,
) -> tuple[Array, Array, Array]:
    length = cached_keys.shape[2]
    slots = jnp.arange(length)[None]
    written = (slots == positions % length)[:, None, :, None]
    keys, values = jnp.where(written, materialize(keys), cached_keys), jnp.where(written, values, cached_values)
    visible = (slots <= positions)[:, None, None, None]  # [B, 1, 1, 1, L]
    if bias is not None:
        ages = (positions - slots) % length
        bias = jnp.take_along_axis(bias, ages[:, None, None, None], axis=-1)
    return keys, values, _attend(queries, keys, values, visible, bias)


def _sequence(
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Array | None,
) -> tuple[Array, Array, Array]:
    time, length = queries.shape[3], cached_keys.shape[2]
    block = min(time, length)
    oldest = positions[:, :1]  # the first input's position: the slot it goes to holds what is oldest
    order = (oldest + jnp.arange(1, length)[None]) % length
    keys, values = (
        jnp.concatenate([_reorder(cached, order), new], axis=2)
        for cached, new in ((cached_keys, keys), (cached_values, values))
    )  # [B, G, L - 1 + T, D], by time
    cache = _remember(keys, positions[:, -1:], length), _remember(values, positions[:, -1:], length)

    finite_values, poison = _separate_nonfinite(values.astype(queries.dtype))
    key_windows = _windows(keys.astype(queries.dtype), time, length)  # [B, G, N, K, D]
    value_windows, poison = _windows(finite_values, time, length), _windows(poison, time, length)
    num_keys = key_windows.shape[3]
    ages = np.arange(block)[:, None] + num_keys - block - np.arange(num_keys)[None]  # [Q, K]
    reach = jnp.minimum(_blocks(positions[:, None, None, :, None], block), length - 1)  # [B, 1, N, 1, Q, 1]
    visible = jnp.asarray(ages >= 0)[None, None, None, None] & (ages[None, None, None, None] <= reach)
    score_bias = poison.swapaxes(3, 4)[:, :, :, None]
    if bias is not None:
        score_bias = score_bias + _align(_blocks(bias, block), block, num_keys)
    outputs = _attend(_blocks(queries, block), key_windows, value_windows, visible, score_bias).swapaxes(2, 3)
    return *cache, outputs.reshape(*outputs.shape[:3], -1, outputs.shape[-1])[:, :, :, :time]


def _attend(queries: Array, keys: Array, values: Array, visible: Array, bias: Array | None) -> Array:
    """`softmax(queries keys^T / sqrt(D) + bias) values` where `visible`, over the last two axes, in float32.

    Queries are `[..., R, Q, D]`: the `R` heads that share keys `[..., K, D]` are to them more queries.
    """
    dtype, shared = queries.dtype, queries.shape[:-3]
    queries = queries * queries.shape[-1] ** -0.5
    folded = queries.reshape(*shared, -1, queries.shape[-1])
    scores = jnp.einsum("...qd,...kd->...qk", folded, keys.astype(dtype), preferred_element_type=jnp.float32)
    scores = scores.reshape(*queries.shape[:-1], -1)
    scores = jnp.where(visible, scores if bias is None else scores + bias, -jnp.inf)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    folded = weights.astype(dtype).reshape(*shared, -1, weights.shape[-1])
    outputs = jnp.einsum("...qk,...kd->...qd", folded, values.astype(dtype)).reshape(*queries.shape[:-1], -1)
    return outputs / weights.sum(axis=-1, keepdims=True).astype(dtype)


def _group(x: Array, groups: int) -> Array:
    """`[B, H, T, D]` to `[B, G, H / G, T, D]`; an `H` of 1 that stands for all heads to `[B, 1, 1, T, D]`."""
    return x[:, None] if x.shape[1] == 1 else x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _align(bias: Array, block: int, num_keys: int) -> Array:
    """By age to by key: `[..., Q, L]`, or one for all queries, to `[..., Q, K]`, where the last key is that of age 0.

    The newest key of each query lies one further than that of the query before: rows padded to `K + 1`, and read as
    rows of `K`, shift by one each.
    """
    length = bias.shape[-1]
    oldest_first = jnp.broadcast_to(bias[..., ::-1], (*bias.shape[:-2], block, length))
    before = num_keys - block - (length - 1)
    padding = [(0, 0)] * (bias.ndim - 1) + [(before, num_keys + 1 - before - length)]
    flat = jnp.pad(oldest_first, padding).reshape(*bias.shape[:-2], -1)
    return flat[..., : block * num_keys].reshape(*bias.shape[:-2], block, num_keys)


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
    """`[B, G, R, T, D]` to `[B, G, ceil(T / length), R, length, D]`, padded with zeros; a `T` of 1 stays."""
    if x.shape[3] > 1:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, -x.shape[3] % length), (0, 0)))
    return x.reshape(*x.shape[:3], -1, min(x.shape[3], length), x.shape[-1]).swapaxes(2, 3)


def _windows(x: Array, time: int, length: int) -> Array:
    """What each block of queries may see, ending with its own: `[B, H, L - 1 + T, D]` to `[B, H, N, K, D]`."""
    if time <= length:
        return x[:, :, None]
    blocks = _blocks(jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, None], length)[:, :, :, 0]
    return jnp.concatenate([blocks[:, :, :-1], blocks[:, :, 1:]], axis=3)


def _separate_nonfinite(values: Array) -> tuple[Array, Array]:
    """Zeros in place of NaN and infinity in `[..., K, D]`, and `[..., K, 1]` that is NaN where there were any.

    A weight of zero would spread them, as zero times NaN is NaN; the mark goes through selections only.
    """
    finite = jnp.isfinite(values)
    return jnp.where(finite, values, 0), jnp.where(finite.all(-1, keepdims=True), 0.0, jnp.nan)
