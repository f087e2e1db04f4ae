"""Sequences cut into chunks: what the chunk-parallel matrix-state recurrences have in common.

Inside a chunk of `Q` steps a recurrence is a masked product of all pairs of steps, between chunks its state is carried:
one state per chunk, never one per step. Arrays are `[B, C, H, Q, ...]` here, with `C` chunks.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.networks.sequence_models.ops.nonfinite import zero_or_nan
from memorax.types import Array, where

SMALLEST_LOG_DECAY = -128.0
"""The exponential of this is zero in float32."""


@struct.dataclass
class Episodes:
    """Which steps of a chunk share an episode.

    Attributes:
        visible: `[B, C, 1, Q, Q]` bool, whether step `j` is step `i` or comes before it in the same episode.
        carried: `[B, C, 1, Q]` bool, whether the episode of a step began before the chunk.
    """

    visible: Array
    carried: Array


def cut(x: Array, length: int) -> Array:
    """`[B, T, H, D]` to `[B, ceil(T / length), H, length, D]`, padded with zeros: steps that change no state."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % length), (0, 0), (0, 0)))
    return x.reshape(x.shape[0], x.shape[1] // length, length, *x.shape[2:]).swapaxes(2, 3)


def join(x: Array, time: int) -> Array:
    """The inverse of `cut`: `[B, C, H, Q, D]` to `[B, T, H, D]`."""
    x = x.swapaxes(2, 3)
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])[:, :time]


def find_episodes(done: Array, length: int) -> Episodes:
    """The episodes of `done` `[B, T]` in chunks of `length`."""
    started = cut(done[:, :, None, None].astype(jnp.float32), length)[..., 0] @ np.tri(length, dtype=np.float32).T
    same = started[..., :, None] == started[..., None, :]
    return Episodes(visible=same & np.tri(length, dtype=bool)[None, None, None], carried=started == 0)


def separate_nonfinite(*inputs: Array) -> tuple[Array, ...]:
    """Replace steps that hold a NaN or an infinity, in any of `[B, T, H, D]`, by zeros: they would spread by products.

    Returns:
        `(nonfinite, *inputs)`, with `nonfinite` `[B, T]` to be put back by `mark_nonfinite`.
    """
    nonfinite = jnp.isnan(sum(zero_or_nan(x.reshape(*x.shape[:2], -1)) for x in inputs))
    return nonfinite, *(where(nonfinite, jnp.zeros_like(x), x) for x in inputs)


def mark_nonfinite(nonfinite: Array, episodes: Episodes, update: Array) -> tuple[Array, Array]:
    """NaN where a step that is not finite was seen, zero elsewhere.

    Returns:
        `(mark, update)`: `[B, C, 1, Q, 1]`, to be added to what is read, and `update` `[B, C, H, P, N]`, marked.
    """
    nonfinite = cut(nonfinite[:, :, None, None], episodes.visible.shape[-1])[..., 0]  # [B, C, 1, Q]
    seen = (episodes.visible & nonfinite[..., None, :]).any(-1)
    mark = jnp.where(seen, jnp.nan, 0.0)[..., None]
    return mark, update + mark[..., -1:, :]


def read(local: Array, queries: Array, states: Array, episodes: Episodes) -> Array:
    """Add what was carried into a chunk: `[B, C, H, Q, P]` from `[B, C, H, Q, N]` and states `[B, C, H, P, N]`."""
    carried = queries @ states.swapaxes(-1, -2)
    return local + jnp.where(episodes.carried[..., None], carried, 0.0)


def product_over_steps(x: Array, y: Array) -> Array:
    """`x^T y`: `[..., Q, M]` and `[..., Q, N]` to `[..., M, N]`.

    Kept apart from the product, the transposition costs a CPU half the time: it is slow at small products over rows.
    """
    return jax.lax.optimization_barrier(x.swapaxes(-1, -2)) @ y


def decay_from_start(log_decay: Array, episodes: Episodes) -> Array:
    """`[..., Q, K]`: the decay from before the chunk to just after each step of an episode that was carried into it."""
    return jnp.exp(_sums_from_start(log_decay, episodes))


def decay_to_end(log_decay: Array, episodes: Episodes) -> Array:
    """`[..., Q, K]`: the decay after each step to the end of the chunk, zero where another episode begins between."""
    if log_decay.shape[-1] == 1:
        after = jnp.matmul(1 - np.tri(log_decay.shape[-2], dtype=log_decay.dtype), log_decay)
    else:
        sums = _sums_from_start(log_decay, episodes)
        after = sums[..., -1:, :] - sums
    return jnp.exp(jnp.where(episodes.visible[..., -1, :, None], after, -jnp.inf))


def _sums_from_start(log_decay: Array, episodes: Episodes) -> Array:
    if log_decay.shape[-1] == 1:
        return jnp.matmul(np.tri(log_decay.shape[-2], dtype=log_decay.dtype), log_decay)
    # From the start of the episode, since the rounding of differences would tell what came before it.
    return episodes.visible.astype(log_decay.dtype) @ log_decay


def decay_between(log_decay: Array, episodes: Episodes) -> Array:
    """`[..., Q, 1]` to `[..., Q, Q]`: the decay after step `j` up to step `i`, zero where `i` does not see `j`."""
    return jnp.exp(jnp.where(episodes.visible, _sums_between(log_decay, episodes), -jnp.inf))


def decayed_scores(queries: Array, keys: Array, log_decay: Array, episodes: Episodes) -> Array:
    """`sum_n queries_in keys_jn exp(log_decay_{j+1,n} + ... + log_decay_{i,n})`, for `j <= i` of an episode.

    No exponent is ever positive, and none is a difference of large sums, so that nothing overflows and a weak decay
    after a strong one keeps its digits.

    Args:
        queries: `[..., Q, N]`.
        keys: `[..., Q, N]`.
        log_decay: `[..., Q, 1]` where it is the same for all `N`, or `[..., Q, N]`; at most 0.
        episodes: which steps see each other.

    Returns:
        `[..., Q, Q]`, zero for other pairs.
    """
    if log_decay.shape[-1] > 1:
        sums = _sums_from_start(log_decay, episodes)
        scores = products_of_pairs(queries * jnp.exp(sums), keys * jnp.exp(-sums))
        return jnp.where(episodes.visible, scores, 0.0)
    return products_of_pairs(queries, keys) * decay_between(log_decay, episodes)


@jax.custom_vjp
def products_of_pairs(queries: Array, keys: Array) -> Array:
    """`queries keys^T`, `[..., Q, K]`."""
    return queries @ keys.swapaxes(-1, -2)


def _pairs_forward(queries: Array, keys: Array) -> tuple[Array, tuple[Array, Array]]:
    return products_of_pairs(queries, keys), (queries, keys)


def _pairs_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    queries, keys = residuals
    with jax.default_matmul_precision("highest"):
        return cotangent @ keys, product_over_steps(cotangent, queries)


products_of_pairs.defvjp(_pairs_forward, _pairs_backward)


def _sums_between(log_decay: Array, episodes: Episodes) -> Array:
    """`log_decay_{j+1} + ... + log_decay_i`: `[..., Q, 1]` to `[..., Q, Q]`.

    Differences of sums from the start of the episode. These are made of a coarse part, a multiple of a power of two
    that is summed without rounding, and a small remainder, so that the differences are exact enough.
    """
    unit = 2.0 ** (math.ceil(math.log2(log_decay.shape[-2])) - 16)
    log_decay = jnp.maximum(log_decay[..., 0], SMALLEST_LOG_DECAY)
    coarse = jax.lax.stop_gradient(jnp.round(log_decay / unit) * unit)
    parts = jnp.stack([coarse, log_decay - coarse], axis=-2)  # [..., 2, Q]
    sums = parts @ episodes.visible.astype(parts.dtype).swapaxes(-1, -2)
    between = sums[..., :, None] - sums[..., None, :]
    return between[..., 0, :, :] + between[..., 1, :, :]
