"""The matrix-state recurrence whose updates overwrite what a key held, chunk-parallel, with resets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops import chunks
from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, where


def delta_rule(
    log_decay: Array,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 16,
) -> tuple[Array, Array]:
    """Run `S_t = S_{t-1} (diag(exp(log_decay_t)) + a_t b_t^T) + v_t k_t^T`, read as `y_t = S_t q_t`.

    `S_{t-1} = 0` where `done_t`. What is removed, `u_t = S_{t-1} a_t`, solves a triangular system inside a chunk (the
    WY form: Yang et al., 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", Eqs. 6-11;
    with decay Yang et al., 2025, "Gated Delta Networks", Section 3.3); between chunks the state is carried. Computed in
    the dtype of `initial_state`.

    Args:
        log_decay: at most 0; `[B, T, H, 1]`, one per head, or `[B, T, H, N]`, one per component of the keys.
        removal_queries: `a`, `[B, T, H, N]`: what the state before the step is read with.
        removal_keys: `b`, `[B, T, H, N]`: where what was read is added; `-beta k` takes it away from the key.
        keys: `[B, T, H, N]`.
        values: `[B, T, H, P]`.
        queries: `[B, T, H, N]`.
        done: `[B, T]` bool.
        initial_state: `[B, H, P, N]`.
        chunk_length: steps per chunk; `T` need not be a multiple of it. It changes the speed, not the result.

    Returns:
        `(final_state, outputs)`: `[B, H, P, N]` and `[B, T, H, P]`. Nothing from before a reset, not even a NaN,
        reaches what follows it.
    """
    time = values.shape[1]
    inputs = [log_decay, removal_queries, removal_keys, keys, values, queries]
    inputs = [x.astype(initial_state.dtype) for x in inputs]
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    with jax.default_matmul_precision("highest"):
        if time == 1:
            return _step(initial_state, *(x[:, 0] for x in inputs))
        return _sequence(done, initial_state, min(chunk_length, time), *inputs)


def _step(
    state: Array,
    log_decay: Array,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array,
    values: Array,
    queries: Array,
) -> tuple[Array, Array]:
    inputs = jnp.exp(log_decay), removal_queries, removal_keys, keys, values, queries
    decay, removal_queries, removal_keys, keys, values, queries = (materialize(x) for x in inputs)
    removed = jnp.sum(state * removal_queries[:, :, None], axis=-1, keepdims=True)
    state = decay[:, :, None] * state + removed * removal_keys[:, :, None] + values[..., None] * keys[:, :, None]
    return state, jnp.sum(state * queries[:, :, None], axis=-1)[:, None]


def _sequence(
    done: Array,
    initial_state: Array,
    length: int,
    log_decay: Array,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array,
    values: Array,
    queries: Array,
) -> tuple[Array, Array]:
    """Rows are the removal queries, then the queries; columns are the removal keys, then the keys."""
    time = values.shape[1]
    episodes = chunks.find_episodes(done, length)
    nonfinite, *inputs = chunks.separate_nonfinite(log_decay, removal_queries, removal_keys, keys, values)
    log_decay, removal_queries, removal_keys, keys, values = (chunks.cut(x, length) for x in inputs)
    rows = jnp.concatenate([removal_queries, chunks.cut(queries, length)], axis=-2)
    columns = jnp.concatenate([removal_keys, keys], axis=-2)

    scores = chunks.decayed_scores(rows, columns, log_decay, episodes, lags=(1, 0))
    from_start = chunks.decay_from_start(log_decay)
    rows = rows * jnp.concatenate([chunks.decay_from_start(log_decay, lag=1), from_start], axis=-2)
    columns = columns * jnp.tile(chunks.decay_to_end(log_decay, episodes), (2, 1))

    # What is removed, and what is read, as `[what it takes from the carried state (N) | what it is without it (P)]`.
    received = jnp.concatenate([rows, scores[..., length:] @ values], axis=-1)
    removed = _inverse_of_unit_lower(scores[..., :length, :length]) @ received[..., :length, :]
    outputs = received[..., length:, :] + scores[..., length:, :length] @ removed
    passed = removed.swapaxes(-1, -2) @ columns[..., :length, :]
    size = keys.shape[-1]
    transition = passed[..., :size, :] + from_start[..., -1:, :] * _identity(from_start, size)
    update = passed[..., size:, :] + values.swapaxes(-1, -2) @ columns[..., length:, :]
    local, update = chunks.mark_nonfinite(nonfinite, episodes, outputs[..., size:], update)
    final_state, states = _carry(transition, update, ~episodes.carried[..., 0, -1], initial_state)
    return final_state, chunks.join(chunks.read(local, outputs[..., :size], states, episodes), time)


def _carry(transition: Array, update: Array, reset: Array, initial_state: Array) -> tuple[Array, Array]:
    """The state after the last chunk, and the state before each: `[B, H, P, N]` and `[B, C, H, P, N]`."""

    def body(state: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        transition, update, reset = xs
        return where(reset, jnp.zeros_like(state), state) @ transition + update, state

    time_first = transition.swapaxes(0, 1), update.swapaxes(0, 1), reset.T
    final_state, states = jax.lax.scan(body, initial_state, time_first)
    return final_state, states.swapaxes(0, 1)


@jax.custom_vjp
def _inverse_of_unit_lower(strictly_lower: Array) -> Array:
    """`(I - A)^{-1}` of `A` `[..., Q, Q]`, by inverses of blocks of 1, 2, 4, ... on the diagonal.

    As stable as substitution; a product of powers of `A` would cancel where keys repeat.
    """
    length = strictly_lower.shape[-1]
    inverse = jnp.broadcast_to(_identity(strictly_lower, length), strictly_lower.shape)
    i, j = np.arange(length)[:, None], np.arange(length)
    size = 1
    while size < length:
        below = (i // (2 * size) == j // (2 * size)) & (i // size > j // size)
        below = jnp.where(np.expand_dims(below, tuple(range(strictly_lower.ndim - 2))), strictly_lower, 0.0)
        inverse = inverse + (below if size == 1 else inverse @ below @ inverse)
        size *= 2
    return inverse


def _inverse_forward(strictly_lower: Array) -> tuple[Array, Array]:
    inverse = _inverse_of_unit_lower(strictly_lower)
    return inverse, inverse


def _inverse_backward(inverse: Array, d_inverse: Array) -> tuple[Array]:
    transposed = inverse.swapaxes(-1, -2)
    return (transposed @ d_inverse @ transposed,)


_inverse_of_unit_lower.defvjp(_inverse_forward, _inverse_backward)


def _identity(like: Array, size: int) -> np.ndarray:
    """`[1, ..., size, size]` with the rank and dtype of `like`."""
    return np.eye(size, dtype=like.dtype).reshape((1,) * (like.ndim - 2) + (size, size))
