"""The matrix-state recurrence with a scalar decay per head, chunk-parallel, with resets."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, where


def state_space_duality(
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 32,
) -> tuple[Array, Array]:
    """Run `S_t = exp(log_decay_t) S_{t-1} + v_t k_t^T`, read as `y_t = S_t q_t`, with `S_{t-1} = 0` where `done_t`.

    Inside a chunk the outputs are masked attention, between chunks the state is carried (Dao & Gu, 2024,
    "Transformers are SSMs", Section 6 and Listing 1): matrix products, and one state per chunk instead of one per
    step. Computed in the dtype of `initial_state`.

    Args:
        log_decay: `[B, T, H]`, at most 0, one per head.
        keys: `[B, T, N]`, shared by the heads (B of a selective state space).
        values: `[B, T, H, P]`.
        queries: `[B, T, N]`, shared by the heads (C of a selective state space).
        done: `[B, T]` bool.
        initial_state: `[B, H, P, N]`.
        chunk_length: steps per chunk; `T` need not be a multiple of it. It changes the speed, not the result.

    Returns:
        `(final_state, outputs)`: `[B, H, P, N]` and `[B, T, H, P]`. Nothing from before a reset, not even a NaN,
        reaches what follows it.
    """
    dtype = initial_state.dtype
    log_decay, keys, values, queries = (x.astype(dtype) for x in (log_decay, keys, values, queries))
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    if values.shape[1] == 1:
        decay, key, value = (materialize(x[:, 0]) for x in (jnp.exp(log_decay), keys, values))
        state = decay[:, :, None, None] * initial_state + value[..., None] * key[:, None, None]
        return state, jnp.einsum("bhpn,bn->bhp", state, queries[:, 0])[:, None]
    return _chunked(log_decay, keys, values, queries, done, initial_state, min(chunk_length, values.shape[1]))


def _chunked(
    log_decay: Array, keys: Array, values: Array, queries: Array, done: Array, initial_state: Array, length: int
) -> tuple[Array, Array]:
    time = values.shape[1]
    log_decay, poison, keys, values = _separate_nonfinite(log_decay, keys, values)
    log_decay, poison, keys, values, queries, done = (
        _chunk(x, length) for x in (log_decay, poison, keys, values, queries, done)
    )
    log_decay, poison = jnp.moveaxis(log_decay, -1, 2), jnp.moveaxis(poison, -1, 2)  # [B, C, H, Q]
    values = jnp.moveaxis(values, 3, 2)  # [B, C, H, Q, P]
    steps = np.tri(length, dtype=values.dtype)
    episode = (done.astype(values.dtype) @ steps.T)[:, :, None]  # [B, C, 1, Q] episodes begun in this chunk

    # decay_ij = exp(log_decay_{j+1} + ... + log_decay_i) from each j to each later i of the same episode.
    visible = (episode[..., :, None] == episode[..., None, :]) & (steps > 0)[None, None, None]
    exponent = _segment_sums(log_decay)
    decay = jnp.exp(jnp.where(visible, exponent + poison[..., None, :], -jnp.inf))
    scores = jnp.einsum("bcin,bcjn->bcij", queries, keys)[:, :, None]
    outputs = jnp.einsum("bchij,bchjp->bchip", scores * decay, values)

    from_start = jnp.exp(exponent[..., 0] + log_decay[..., :1])  # [B, C, H, Q], from before the chunk to each step
    updates = jnp.einsum("bchjp,bcjn->bchpn", values * decay[..., -1, :, None], keys)
    final_state, states = _carry_states(from_start[..., -1], updates, episode[..., 0, -1] > 0, initial_state)
    carried = jnp.einsum("bcin,bchpn->bchip", queries, states) * from_start[..., None]
    outputs = outputs + jnp.where((episode == 0)[..., None], carried, 0.0)
    outputs = jnp.moveaxis(outputs, 2, 3).reshape(outputs.shape[0], -1, *values.shape[2:3], values.shape[-1])
    return final_state, outputs[:, :time]


def _carry_states(decay: Array, updates: Array, reset: Array, initial_state: Array) -> tuple[Array, Array]:
    """The state after the last chunk, and the state before each: `[B, H, P, N]` and `[B, C, H, P, N]`."""
    decay, updates = decay.swapaxes(0, 1)[..., None, None], updates.swapaxes(0, 1)
    decay = jnp.broadcast_to(decay, updates.shape)
    final_state, states = linear_recurrence(decay, updates, reset.T, initial_state)
    return final_state, jnp.concatenate([initial_state[None], states[:-1]]).swapaxes(0, 1)


def _separate_nonfinite(log_decay: Array, keys: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    """Replace steps that hold a NaN or an infinity by zeros, and mark them by a NaN in `poison` `[B, T, H]`.

    A masked product would spread them, as zero times NaN is NaN; the mark goes through selections only.
    """
    finite = jnp.isfinite(log_decay) & jnp.isfinite(values).all(-1) & jnp.isfinite(keys).all(-1, keepdims=True)
    poison = jnp.where(finite, 0.0, jnp.nan).astype(values.dtype)
    return (
        jnp.where(finite, log_decay, 0.0),
        poison,
        where(finite.any(-1), keys, jnp.zeros_like(keys)),
        where(finite, values, jnp.zeros_like(values)),
    )


def _segment_sums(log_decay: Array) -> Array:
    """`[..., Q]` to `[..., Q, Q]`: the sum over `j < k <= i` at `[i, j]`, zero where `i <= j`.

    Summed directly: a difference of cumulative sums would lose its digits after a strong decay.
    """
    length = log_decay.shape[-1]
    k, i, j = np.ogrid[:length, :length, :length]
    between = ((j < k) & (k <= i)).astype(log_decay.dtype).reshape(length, -1)
    return (log_decay @ between).reshape(*log_decay.shape, length)


def _chunk(x: Array, length: int) -> Array:
    """`[B, T, ...]` to `[B, ceil(T / length), length, ...]`, padded with zeros: steps that change no state."""
    padding = -x.shape[1] % length
    x = jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))
    return x.reshape(x.shape[0], -1, length, *x.shape[2:])
