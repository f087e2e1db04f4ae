"""Causal attention over the current episode, limited to a window of the last inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.networks.sequence_models.ops.nonfinite import zero_or_nan
from memorax.types import Array, where


def count_positions(done: Array, position: Array) -> Array:
    """Count, for each input, the inputs of its episode that came before it.

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
    current episode are zero, so that one step writes one slot. A sequence is computed in blocks of `L / 2` queries
    against `3 L / 2` keys, so that memory grows with `T * L`. `H / G` heads of queries, one after another, share a head
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
    """One query `[B, G, H / G, 1, D]` against the ring, into which its own key and value are written first."""
    length = cached_keys.shape[2]
    slots = jnp.arange(length)[None]
    written = (slots == positions % length)[:, None, :, None]
    keys, values = jnp.where(written, materialize(keys), cached_keys), jnp.where(written, values, cached_values)
    mask = jnp.where(slots <= positions, 0.0, -jnp.inf)[:, None, None, None]  # [B, 1, 1, 1, L]
    if bias is not None:
        ages = (positions - slots) % length
        mask = mask + jnp.take_along_axis(bias, ages[:, None, None, None], axis=-1, mode="clip")
    return keys, values, _attend(queries, keys.astype(queries.dtype), values.astype(queries.dtype), mask)


def _sequence(
    queries: Array,
    keys: Array,
    values: Array,
    positions: Array,
    cached_keys: Array,
    cached_values: Array,
    bias: Array | None,
) -> tuple[Array, Array, Array]:
    """Queries of a sequence, in `N` blocks of `Q`, each block against the `K = L + Q` keys that end with its own."""
    time, length = queries.shape[3], cached_keys.shape[2]
    # Each query sees `length` of its block's `length + block` keys: fewer than half a window's queries would not pay.
    block = min(time, length if length % 2 else length // 2)
    keys, values = _by_time(cached_keys, keys, positions), _by_time(cached_values, values, positions)
    cache = _remember(keys, positions[:, -1:], length), _remember(values, positions[:, -1:], length)

    keys, values = keys.astype(queries.dtype), values.astype(queries.dtype)
    # A weight of zero would spread a NaN or an infinity, as zero times NaN is NaN: zeros there, marked in `mask`.
    marks = jax.lax.stop_gradient(zero_or_nan(keys) + zero_or_nan(values)).sum(1)[:, None, :, None]  # [B, 1, L + T, 1]
    keys, values = (jnp.where(jnp.isnan(marks), 0, x) for x in (keys, values))
    marks, keys, values = (_windows(x, block, length) for x in (marks, keys, values))  # [B, G, N, K, D]
    # As unsigned numbers, negative ages are the largest.
    ages = (np.arange(block)[:, None] + length - np.arange(length + block)[None]).astype(np.uint32)  # [Q, K]
    reach = jnp.minimum(_blocks(positions[:, None, None, :, None], block), length - 1)  # [B, 1, N, 1, Q, 1]
    visible = ages[None, None, None, None] <= reach.astype(jnp.uint32)
    mask = jnp.where(visible, marks.astype(jnp.float32).swapaxes(3, 4)[:, :, :, None], -jnp.inf)
    if bias is not None:
        mask = mask + _align(_blocks(bias, block), block, length + block)
    outputs = _attend(_blocks(queries, block), keys, values, mask).swapaxes(2, 3)
    return *cache, outputs.reshape(*outputs.shape[:3], -1, outputs.shape[-1])[:, :, :, :time]


@jax.custom_jvp
def _attend(queries: Array, keys: Array, values: Array, bias: Array) -> Array:
    """`softmax(queries keys^T / sqrt(D) + bias) values` over the last two axes, in float32.

    Queries are `[..., R, Q, D]`: the `R` heads that share keys `[..., K, D]` are to them more queries. What is hidden
    has a bias of minus infinity.
    """
    return _attend_forward(queries, keys, values, bias)[0]


def _attend_forward(queries: Array, keys: Array, values: Array, bias: Array) -> tuple[Array, tuple]:
    dtype, shape = queries.dtype, queries.shape
    queries = _fold(queries * shape[-1] ** -0.5)
    scores = _scores(queries, keys).reshape(*shape[:-1], -1) + bias  # (..., R, Q, K)
    weights = _fold(jnp.exp(scores - scores.max(axis=-1, keepdims=True)))
    scale = 1 / weights.sum(axis=-1, keepdims=True)
    weights = weights.astype(dtype)
    outputs = (weights @ values) * scale.astype(dtype)
    return outputs.reshape(*shape[:-1], -1), (queries, keys, values, weights, scale, outputs)


@_attend.defjvp
def _attend_tangent(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    """The tangent of softmax attention, from its outputs and unnormalised weights.

    Write `s = q k^T / sqrt(D) + bias` `[Q, K]`, `e = exp(s - max)`, `z = sum_K e` `[Q, 1]` and `y = e v / z` `[Q, V]`.
    With `ds = (dq k^T + q dk^T) / sqrt(D) + dbias` and `de = e * ds`,

        dy = (de v + e dv) / z - (sum_K de) y / z       [Q, V]

    so that the weights are kept unnormalised and never divided. The transpose, the gradient, is

        ds = e * ((dy / z) v^T - (dy / z) . y)       [Q, K]

    in which `(dy / z) . y` is one number per query. Weights are kept for it, `[Q, K]` per block and head.
    """
    outputs, (queries, keys, values, weights, scale, folded_outputs) = _attend_forward(*primals)
    shape, dtype = primals[0].shape, weights.dtype
    d_queries, d_keys, d_values, d_bias = tangents
    d_scores = _scores(_fold(d_queries * shape[-1] ** -0.5), keys) + _scores(queries, d_keys)  # (..., R * Q, K)
    d_weights = weights * _fold(d_scores.reshape(*shape[:-1], -1) + d_bias).astype(dtype)
    scale = scale.astype(dtype)
    along = jnp.sum(d_weights, axis=-1, keepdims=True)
    d_outputs = (d_weights @ values + weights @ d_values) * scale - along * (scale * folded_outputs)
    return outputs, d_outputs.reshape(outputs.shape)


def _scores(queries: Array, keys: Array) -> Array:
    """`queries keys^T` over the last two axes, in float32."""
    return jnp.einsum("...qd,...kd->...qk", queries, keys, preferred_element_type=jnp.float32)


def _fold(x: Array) -> Array:
    """`[..., R, Q, D]` to `[..., R * Q, D]`."""
    return x.reshape(*x.shape[:-3], -1, x.shape[-1])


def _group(x: Array, groups: int) -> Array:
    """`[B, H, T, D]` to `[B, G, H / G, T, D]`; an `H` of 1 that stands for all heads to `[B, 1, 1, T, D]`."""
    return x[:, None] if x.shape[1] == 1 else x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _align(bias: Array, block: int, num_keys: int) -> Array:
    """Turn a bias by age, `[..., Q, L]` or `[..., 1, L]`, into one by key, `[..., Q, K]`.

    The key of age 0 of query `i` lies one further right than that of query `i - 1`, so each row is the one before,
    shifted by one. Rows of `L` oldest-first entries are padded to `K + 1`; read again as rows of `K`, each starts one
    entry later than the one before.
    """
    length = bias.shape[-1]
    oldest_first = jnp.broadcast_to(bias[..., ::-1], (*bias.shape[:-2], block, length))
    before = num_keys - block - (length - 1)
    padding = [(0, 0)] * (bias.ndim - 1) + [(before, num_keys + 1 - before - length)]
    flat = jnp.pad(oldest_first, padding).reshape(*bias.shape[:-2], -1)
    return flat[..., : block * num_keys].reshape(*bias.shape[:-2], block, num_keys)


def ring_after(cached: Array, inputs: Array, positions: Array) -> Array:
    """The ring of the last `L` inputs after a sequence, as `windowed_attention` keeps it of keys and values.

    Args:
        cached: `[B, G, L, D]`, of the inputs before the first.
        inputs: `[B, G, T, D]`.
        positions: `[B, T]`, how many inputs of its episode came before each.

    Returns:
        `[B, G, L, D]` in the dtype of `cached`: slots that hold nothing of the current episode are zero.
    """
    cached = where(positions[:, 0] == 0, jnp.zeros_like(cached), cached)
    return _remember(_by_time(cached, inputs.astype(cached.dtype), positions), positions[:, -1:], cached.shape[2])


def _by_time(cached: Array, inputs: Array, positions: Array) -> Array:
    """What the ring holds, oldest first, and the inputs after it: `[B, G, L + T, D]`."""
    # The slot that the first input goes to holds what is oldest.
    order = (positions[:, :1] + jnp.arange(cached.shape[2])[None]) % cached.shape[2]
    return jnp.concatenate([_reorder(cached, order), inputs], axis=2)


def _remember(x: Array, position: Array, length: int) -> Array:
    """The ring after the last input, at `position` `[B, 1]`, from `[B, H, L + T, D]` by time."""
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


def _windows(x: Array, block: int, length: int) -> Array:
    """The keys that each block of queries may see, its own last: `[B, H, L + T, D]` to `[B, H, N, L + block, D]`."""
    if x.shape[2] == length + block:
        return x[:, :, None]
    blocks = _blocks(x[:, :, None], block)[:, :, :, 0]
    before = length // block
    num_blocks = blocks.shape[2] - before
    return jnp.concatenate([blocks[:, :, i : i + num_blocks] for i in range(before + 1)], axis=3)
