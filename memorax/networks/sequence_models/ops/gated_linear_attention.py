"""Gated linear attention: a recurrence of matrix states that decay, in parallel over chunks, with resets."""

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
    `initial_state`. The backward pass of a sequence is written by hand: forward mode (`jax.jvp`) is not supported.

    Args:
        log_decay: at most 0; `[B, T, H, 1]`, one per head, or `[B, T, H, N]`, one per component of the keys, which is
            then at least `-64 / chunk_length`, so that the inverse of the decay over a chunk is a float32.
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
    return _linear_attention(log_decay, keys, values, queries, done, initial_state, chunk_length, with_weights=False)[
        :2
    ]


def weighted_linear_attention(
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 32,
) -> tuple[Array, Array, Array]:
    """`gated_linear_attention`, which also returns the sum of the weights that each output gives to the values.

    The sum is what a value that is always 1 would be read as; its memory is the last row of the state. Outputs divided
    by it are averages of values.

    Args:
        log_decay: `[B, T, H, 1]` or `[B, T, H, N]`, at most 0; see `gated_linear_attention`.
        keys: `[B, T, H, N]`.
        values: `[B, T, H, P]`.
        queries: `[B, T, H, N]`.
        done: `[B, T]` bool.
        initial_state: `[B, H, P + 1, N]`.
        chunk_length: steps per chunk.

    Returns:
        `(final_state, outputs, weights)`: `[B, H, P + 1, N]`, `[B, T, H, P]` and `[B, T, H, 1]`.
    """
    arrays = log_decay, keys, values, queries, done, initial_state
    return _linear_attention(*arrays, chunk_length, with_weights=True)


def _linear_attention(
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int,
    with_weights: bool,
) -> tuple[Array, Array, Array]:
    dtype, time = initial_state.dtype, values.shape[1]
    log_decay, keys, values, queries = (x.astype(dtype) for x in (log_decay, keys, values, queries))
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    with jax.default_matmul_precision("highest"):
        if time == 1:
            if with_weights:
                values = jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)
            state, read = _step(initial_state, *(x[:, 0] for x in (log_decay, keys, values, queries)))
            size = values.shape[-1] - with_weights
            return state, read[..., :size], read[..., size:]
        return _sequence(log_decay, keys, values, queries, done, initial_state, min(chunk_length, time), with_weights)


def _step(state: Array, log_decay: Array, keys: Array, values: Array, queries: Array) -> tuple[Array, Array]:
    decay, keys, values, queries = (materialize(x) for x in (jnp.exp(log_decay), keys, values, queries))
    state = decay[:, :, None] * state + values[..., None] * keys[:, :, None]
    return state, (state @ queries[..., None])[..., 0][:, None]


def _sequence(
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    length: int,
    with_weights: bool,
) -> tuple[Array, Array, Array]:
    nonfinite, log_decay, keys, values = chunks.separate_nonfinite(log_decay, keys, values)
    if log_decay.shape[-1] > 1:
        keys, queries = (jnp.broadcast_to(x, (*values.shape[:3], x.shape[-1])) for x in (keys, queries))
    return _chunked(length, with_weights, log_decay, keys, values, queries, done, nonfinite, initial_state)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked(length: int, with_weights: bool, *arrays: Array) -> tuple[Array, Array, Array]:
    """The final state, the outputs and the weights, of the arguments of `_forward`."""
    return _forward(length, with_weights, *arrays)[0]


def _forward(
    length: int,
    with_weights: bool,
    log_decay: Array,
    keys: Array,
    values: Array,
    queries: Array,
    done: Array,
    nonfinite: Array,
    initial_state: Array,
) -> tuple[tuple[Array, Array, Array], tuple]:
    """Run the recurrence over whole chunks of `Q` steps.

    With `L_i` the sum of log decays from the start of the chunk up to step `i`, and `S` `[P, N]` the state before it:

        y_i = sum_{j<=i} (q_i . (exp(L_i - L_j) * k_j)) v_j + S (exp(L_i) * q_i)
        S_after = S diag(exp(L_Q)) + sum_j v_j (exp(L_Q - L_j) * k_j)^T

    where pairs of steps, and a step and `S`, count only if they are of one episode. The first sum is attention with
    scores `[Q, Q]`; the second line is a linear recurrence over chunks.
    """
    episodes, time, size = chunks.find_episodes(done, length), done.shape[1], values.shape[-1]
    log_decay, keys, values, queries = (chunks.cut(x, length) for x in (log_decay, keys, values, queries))
    # (B, C, H, Q, Q)
    scores, pull_scores = jax.vjp(lambda q, k: chunks.decayed_scores(q, k, log_decay, episodes), queries, keys)
    from_start = chunks.decay_from_start(log_decay, episodes)  # exp(L_i), (B, C, H, Q, N or 1)
    to_end = chunks.decay_to_end(log_decay, episodes)  # exp(L_Q - L_j)
    # (B, C, H, P, N), or (B, C, H, P + 1, N) with the weights
    update = _sums(values, jnp.ones_like(values[..., :1]) if with_weights else None, keys * to_end)
    mark, update = chunks.mark_nonfinite(nonfinite, episodes, update)
    final_state, states = _carry(from_start[..., -1:, :], update, _reset(episodes), initial_state)
    reads = queries * from_start
    outputs = chunks.read(scores @ values, reads, states[..., :size, :], episodes) + mark
    weights = outputs[..., :0]
    if with_weights:
        weights = chunks.read(scores.sum(-1, keepdims=True), reads, states[..., size:, :], episodes) + mark
    residuals = keys, values, queries, episodes, scores, pull_scores, from_start, to_end, states, final_state, outputs
    return (final_state, chunks.join(outputs, time), chunks.join(weights, time)), residuals


def _backward(length: int, with_weights: bool, residuals: tuple, cotangents: tuple[Array, Array, Array]) -> tuple:
    """The gradients of `_forward`, with one state per chunk kept and none per step.

    Let `dy` `[Q, P]` be the cotangent of a chunk's outputs, `A` `[Q, Q]` its scores, and `G` `[P, N]` all that the
    state after the chunk receives. States pass their gradient on by the forward recurrence from the end, driven by what
    is read from them:

        dS = G diag(exp(L_Q)) + sum_i dy_i (exp(L_i) * q_i)^T

    and the inputs of a chunk receive

        dA = dy V^T,    dV = A^T dy + (exp(L_Q - L) * K) G^T
        dQ = (dA pulled through the scores) + exp(L) * (dy S)
        dK = (dA pulled through the scores) + exp(L_Q - L) * (V G)

    The log decays need no products of their own. `L_i` enters only as `exp(L_i) * q_i`, `exp(-L_j) * k_j` and the
    factor `exp(L_Q)` of the state after the chunk, so that, for each component `n`,

        dL_i = q_i * dq_i - k_i * dk_i,    plus, at the last step, sum_P G * S_after

    and, as `L_i` sums the log decays of its episode up to `i`, `dlog_decay_s = sum_{i>=s} dL_i` in the episode. With
    one decay per head these are summed over `n`. Where heads share keys and queries, `dq` and `dk` are sums over heads;
    there `q_i . dq_i` of one head is `y_i . dy_i`, because `y_i` is linear in `q_i`, and `k_j . dk_j` is `v_j . dv_j`.

    The weights, if any, are outputs for a value of 1: their terms are those of `P` with `v = 1`.
    """
    keys, values, queries, episodes, scores, pull_scores, from_start, to_end, states, final_state, outputs = residuals
    d_final, *d_read = cotangents
    time, size, shared = d_read[0].shape[1], values.shape[-1], keys.shape[2] < values.shape[2]
    d_outputs, d_weights = (chunks.cut(x, length) for x in d_read)
    carried = episodes.carried[..., None]
    with jax.default_matmul_precision("highest"):
        d_scores = d_outputs @ _transpose(values)  # (B, C, H, Q, Q)
        d_queries, d_keys = pull_scores(d_scores + d_weights if with_weights else d_scores)
        d_carried = jnp.where(carried, d_outputs, 0.0), jnp.where(carried, d_weights, 0.0) if with_weights else None
        d_states = _sums(*d_carried, queries * from_start)  # (B, C, H, P, N)
        decay, d_states, reset = (x[:, ::-1] for x in (from_start[..., -1:, :], d_states, _reset(episodes)))
        d_initial, d_after = _carry(decay, d_states, reset, d_final)
        d_after = d_after[:, ::-1]  # G of each chunk
        from_states = _through_states(d_outputs, states[..., :size, :], from_start, queries)
        from_after = _through_states(values, d_after[..., :size, :], to_end, keys)
        if with_weights:
            from_states += d_weights * states[..., size:, :] * from_start
            from_after += d_after[..., size:, :] * to_end
        d_queries += jnp.where(carried, from_states, 0.0)
        d_keys += from_after
        d_values = chunks.product_over_steps(scores, d_outputs) + (keys * to_end) @ _transpose(d_after[..., :size, :])

        d_sums = d_outputs * outputs - d_values * values if shared else d_queries * queries - d_keys * keys
        scalar = from_start.shape[-1] == 1  # one decay per head
        if scalar:
            d_sums = jnp.sum(d_sums, axis=-1, keepdims=True)
        after = jnp.concatenate([states[:, 1:], final_state[:, None]], axis=1)
        d_sums = d_sums.at[..., -1:, :].add(jnp.sum(d_after * after, axis=(-2, -1) if scalar else -2, keepdims=True))
        d_log_decay = chunks.product_over_steps(episodes.visible.astype(d_sums.dtype), d_sums)
    d_inputs = (chunks.join(x, time) for x in (d_log_decay, d_keys, d_values, d_queries))
    return *d_inputs, None, None, d_initial


_chunked.defvjp(_forward, _backward)


def _sums(values: Array, weights: Array | None, keys: Array) -> Array:
    """`values^T keys` `[..., P, N]` and, where weights `[..., Q, 1]` are given, `weights^T keys` as one more row."""
    sums = chunks.product_over_steps(values, keys)
    if weights is None:
        return sums
    return jnp.concatenate([sums, jnp.sum(weights * keys, axis=-2, keepdims=True)], axis=-2)


def _carry(decay: Array, update: Array, reset: Array, initial_state: Array) -> tuple[Array, Array]:
    """The state after the last chunk, and the state before each: `[B, H, P, N]` and `[B, C, H, P, N]`."""
    decay, update = decay.swapaxes(0, 1), update.swapaxes(0, 1)
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
