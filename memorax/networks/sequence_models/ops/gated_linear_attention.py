"""The matrix-state recurrence with decay, chunk-parallel, with resets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from memorax.networks.sequence_models.ops import chunks
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, where


def gated_linear_attention(
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 32,
) -> tuple[Array, Array]:
    """Run `S_t = S_{t-1} diag(exp(log_decay_t)) + v_t k_t^T`, read as `y_t = S_t q_t`; `S_{t-1} = 0` where `done_t`.

    Inside a chunk the outputs are masked attention, between chunks the state is carried (Yang et al., 2023, "Gated
    Linear Attention Transformers", Section 4; for one decay per head also Dao & Gu, 2024, "Transformers are SSMs",
    Section 6): matrix products, and one state per chunk instead of one per step. Computed in the dtype of
    `initial_state`.

    Args:
        log_decay: at most 0; `[B, T, H, 1]`, one per head, or `[B, T, H, N]`, one per component of the keys.
        keys: `[B, T, H, N]`, or `[B, T, 1, N]` where the heads share them (B of a selective state space).
        values: `[B, T, H, P]`.
        queries: `[B, T, H, N]`, or `[B, T, 1, N]` where the heads share them (C of a selective state space).
        done: `[B, T]` bool.
        initial_state: `[B, H, P, N]`.
        chunk_length: steps per chunk; `T` need not be a multiple of it. It changes the speed, not the result.

    Returns:
        `(final_state, outputs)`: `[B, H, P, N]` and `[B, T, H, P]`. Nothing from before a reset, not even a NaN,
        reaches what follows it.
    """
    dtype, time = initial_state.dtype, values.shape[1]
    log_decay, keys, values, queries = (x.astype(dtype) for x in (log_decay, keys, values, queries))
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    with jax.default_matmul_precision("highest"):
        if time == 1:
            return _step(initial_state, *(x[:, 0] for x in (log_decay, keys, values, queries)))
        return _sequence(log_decay, keys, values, queries, done, initial_state, min(chunk_length, time))


def _step(state: Array, log_decay: Array, keys: Array, values: Array, queries: Array) -> tuple[Array, Array]:
    decay, keys, values, queries = (materialize(x) for x in (jnp.exp(log_decay), keys, values, queries))
    state = decay[:, :, None] * state + values[..., None] * keys[:, :, None]
    return state, jnp.sum(state * queries[:, :, None], axis=-1)[:, None]


def _sequence(
    log_decay: Array, keys: Array, values: Array, queries: Array, done: Array, initial_state: Array, length: int
) -> tuple[Array, Array]:
    time = values.shape[1]
    episodes = chunks.find_episodes(done, length)
    nonfinite, log_decay, keys, values = chunks.separate_nonfinite(log_decay, keys, values)
    log_decay, keys, values, queries = (chunks.cut(x, length) for x in (log_decay, keys, values, queries))
    from_start = chunks.decay_from_start(log_decay)

    scores = chunks.decayed_scores(queries, keys, log_decay, episodes)
    local = scores @ values
    update = values.swapaxes(-1, -2) @ (keys * chunks.decay_to_end(log_decay, episodes))
    local, update = chunks.mark_nonfinite(nonfinite, episodes, local, update)
    final_state, states = _carry(from_start[..., -1:, :], update, ~episodes.carried[..., 0, -1], initial_state)
    return final_state, chunks.join(chunks.read(local, queries * from_start, states, episodes), time)


def _carry(decay: Array, update: Array, reset: Array, initial_state: Array) -> tuple[Array, Array]:
    """The state after the last chunk, and the state before each: `[B, H, P, N]` and `[B, C, H, P, N]`."""
    decay, update = jnp.broadcast_to(decay, update.shape).swapaxes(0, 1), update.swapaxes(0, 1)
    final_state, states = linear_recurrence(decay, update, reset.T, initial_state)
    return final_state, jnp.concatenate([initial_state[None], states[:-1]]).swapaxes(0, 1)
