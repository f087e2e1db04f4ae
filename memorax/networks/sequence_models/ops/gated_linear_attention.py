"""The matrix-state recurrence with decay, chunk-parallel, with resets."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from memorax.networks.sequence_models.ops import chunks
from memorax.networks.sequence_models.ops.chunks import Episodes
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
    nonfinite, log_decay, keys, values = chunks.separate_nonfinite(log_decay, keys, values)
    if log_decay.shape[-1] > 1:
        keys, queries = (jnp.broadcast_to(x, (*values.shape[:3], x.shape[-1])) for x in (keys, queries))
    return _chunked(length, log_decay, keys, values, queries, done, nonfinite, initial_state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(length: int, *arrays: Array) -> tuple[Array, Array]:
    """The final state and the outputs, of the arguments of `_forward`."""
    return _forward(length, *arrays)[0]


def _forward(
    length: int,
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    nonfinite: Array,
    initial_state: Array,
) -> tuple[tuple[Array, Array], tuple]:
    episodes = chunks.find_episodes(done, length)
    log_decay, keys, values, queries = (chunks.cut(x, length) for x in (log_decay, keys, values, queries))
    scores, pull_scores = jax.vjp(lambda q, k: chunks.decayed_scores(q, k, log_decay, episodes), queries, keys)
    from_start = chunks.decay_from_start(log_decay)
    to_end = chunks.decay_to_end(log_decay, episodes)
    local, update = scores @ values, chunks.product_over_steps(values, keys * to_end)
    local, update = chunks.mark_nonfinite(nonfinite, episodes, local, update)
    final_state, states = _carry(from_start[..., -1:, :], update, _reset(episodes), initial_state)
    outputs = chunks.read(local, queries * from_start, states, episodes)
    residuals = keys, values, queries, episodes, scores, pull_scores, from_start, to_end, states, final_state, outputs
    return (final_state, chunks.join(outputs, done.shape[1])), residuals


def _backward(length: int, residuals: tuple, cotangents: tuple[Array, Array]) -> tuple:
    keys, values, queries, episodes, scores, pull_scores, from_start, to_end, states, final_state, outputs = residuals
    d_final, d_outputs = cotangents
    time = d_outputs.shape[1]
    d_outputs = chunks.cut(d_outputs, length)
    carried = episodes.carried[..., None]
    with jax.default_matmul_precision("highest"):
        d_queries, d_keys = pull_scores(d_outputs @ _transpose(values))
        d_states = chunks.product_over_steps(jnp.where(carried, d_outputs, 0.0), queries * from_start)
        reverse = from_start[:, ::-1, :, -1:], d_states[:, ::-1], _reset(episodes)[:, ::-1]
        d_initial, d_after = _carry(*reverse, d_final)
        d_after = d_after[:, ::-1]
        d_queries += jnp.where(carried, _through_states(d_outputs, states, from_start, queries), 0.0)
        d_keys += _through_states(values, d_after, to_end, keys)
        d_values = chunks.product_over_steps(scores, d_outputs) + (keys * to_end) @ _transpose(d_after)

        # What step i reads holds the decays up to i; what step j writes is read without the decays up to j.
        if from_start.shape[-1] == 1:
            d_sums = jnp.sum(d_outputs * outputs - d_values * values, axis=-1, keepdims=True)
        else:
            d_sums = d_queries * queries - d_keys * keys
        after = jnp.concatenate([states[:, 1:], final_state[:, None]], axis=1)
        axes = (-2, -1) if from_start.shape[-1] == 1 else -2
        d_sums = d_sums.at[..., -1:, :].add(jnp.sum(d_after * after, axis=axes, keepdims=True))
        d_log_decay = chunks.product_over_steps(episodes.visible.astype(d_sums.dtype), d_sums)
    d_inputs = (chunks.join(x, time) for x in (d_log_decay, d_keys, d_values, d_queries))
    return *d_inputs, None, None, d_initial


_chunked.defvjp(_forward, _backward)


def _carry(decay: Array, update: Array, reset: Array, initial_state: Array) -> tuple[Array, Array]:
    """The state after the last chunk, and the state before each: `[B, H, P, N]` and `[B, C, H, P, N]`."""
    decay, update = jnp.broadcast_to(decay, update.shape).swapaxes(0, 1), update.swapaxes(0, 1)
    final_state, states = linear_recurrence(decay, update, reset.T, initial_state)
    return final_state, jnp.concatenate([initial_state[None], states[:-1]]).swapaxes(0, 1)


def _reset(episodes: Episodes) -> Array:
    """Whether another episode has begun by the end of a chunk, `[B, C]`."""
    return ~episodes.carried[..., 0, -1]


def _transpose(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _through_states(steps: Array, states: Array, decay: Array, like: Array) -> Array:
    """`(steps @ states) * decay`, summed over the heads where they share `like`."""
    if like.shape[2] == steps.shape[2]:
        return (steps @ states) * decay
    steps = (steps * decay).swapaxes(2, 3)  # one product over heads and values
    return (steps.reshape(*steps.shape[:3], -1) @ states.reshape(*states.shape[:2], -1, states.shape[-1]))[:, :, None]
