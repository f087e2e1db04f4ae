"""Sequences cut into chunks: what the recurrences of matrix states, computed in parallel over chunks, share.

Inside a chunk of `Q` steps, the recurrence is a masked product over all pairs of steps. Between chunks its state is
carried, so that memory holds one state per chunk instead of one per step. Arrays are `[B, C, H, Q, ...]`: batch,
chunks, heads, steps of a chunk.
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
    # Episodes begun from the start of the chunk up to each step, by a product with ones on and below the diagonal.
    started = cut(done[:, :, None, None].astype(jnp.float32), length)[..., 0] @ np.tri(length, dtype=np.float32).T
    same = started[..., :, None] == started[..., None, :]  # (B, C, 1, Q, Q)
    return Episodes(visible=same & np.tri(length, dtype=bool)[None, None, None], carried=started == 0)


def separate_nonfinite(*inputs: Array) -> tuple[Array, ...]:
    """Replace steps that hold a NaN or an infinity in any of `[B, T, H, D]` by zeros.

    A masked product multiplies steps of other episodes by zero, and zero times NaN is NaN.

    Returns:
        `(nonfinite, *inputs)`, with `nonfinite` `[B, T]` to be put back by `mark_nonfinite`.
    """
    nonfinite = jnp.isnan(sum(zero_or_nan(x.reshape(*x.shape[:2], -1)) for x in inputs))
    return nonfinite, *(where(nonfinite, jnp.zeros_like(x), x) for x in inputs)


def mark_nonfinite(nonfinite: Array, episodes: Episodes, update: Array) -> tuple[Array, Array]:
    """Put NaN wherever a step that is not finite is seen from, and zero elsewhere.

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

    The barrier stores the transposed array before the product. XLA:CPU would otherwise fold the transposition into
    the product, and its small products over rows take twice as long.
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
    """`[..., Q, K]`: the sum of log decays up to each step, from the start of the chunk or of the episode in it."""
    if log_decay.shape[-1] == 1:
        return jnp.matmul(np.tri(log_decay.shape[-2], dtype=log_decay.dtype), log_decay)
    # Sums begin with the episode: in a sum from the start of the chunk, rounding would depend on the episode before.
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
        # exp(L_i - L_j) = exp(L_i) exp(-L_j): queries are multiplied by one factor and keys by the other. The callers
        # bound each log decay from below, so that exp(-L) over a chunk is a float32.
        sums = _sums_from_start(log_decay, episodes)  # L, (..., Q, N)
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
    """The gradients of `A = Q K^T`: `dQ = dA K` `[..., Q, N]` and `dK = dA^T Q` `[..., Q, N]`.

    They are those of automatic differentiation. By hand, `dA^T` is stored before its product; see
    `product_over_steps`.
    """
    queries, keys = residuals
    with jax.default_matmul_precision("highest"):
        return cotangent @ keys, product_over_steps(cotangent, queries)


products_of_pairs.defvjp(_pairs_forward, _pairs_backward)


def _sums_between(log_decay: Array, episodes: Episodes) -> Array:
    """`log_decay_{j+1} + ... + log_decay_i`: `[..., Q, 1]` to `[..., Q, Q]`.

    Each is a difference of two sums from the start of the episode, which would cancel where the sums are large and the
    difference is small. So a log decay is split: a coarse part, a multiple of a power of two, of which float32 adds `Q`
    without rounding, and a remainder of less than that power. Differences of the coarse sums are exact, and those of
    the remainders lose digits of a small number only.
    """
    unit = 2.0 ** (math.ceil(math.log2(log_decay.shape[-2])) - 16)
    log_decay = jnp.maximum(log_decay[..., 0], SMALLEST_LOG_DECAY)
    # The gradient flows through the remainder: coarse + (log_decay - coarse) has slope 1 in log_decay.
    coarse = jax.lax.stop_gradient(jnp.round(log_decay / unit) * unit)
    parts = jnp.stack([coarse, log_decay - coarse], axis=-2)  # [..., 2, Q]
    sums = parts @ episodes.visible.astype(parts.dtype).swapaxes(-1, -2)  # (..., 2, Q)
    between = sums[..., :, None] - sums[..., None, :]  # (..., 2, Q, Q)
    return between[..., 0, :, :] + between[..., 1, :, :]
