"""The delta rule: a recurrence of matrix states whose updates overwrite what a key held, in parallel over chunks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops import chunks
from memorax.networks.sequence_models.ops.chunks import Episodes
from memorax.networks.sequence_models.ops.materialize import materialize
from memorax.types import Array, PyTree, where


def delta_rule(
    log_decay: Array | None,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array | None,
    values: Array,
    queries: Array,
    done: Array,
    initial_state: Array,
    chunk_length: int = 16,
) -> tuple[Array, Array]:
    """Run `S_t = S'_t (I + a_t b_t^T) + v_t k_t^T`, where `S'_t = S_{t-1} diag(exp(log_decay_t))`.

    It is read as `y_t = S_t q_t`, and `S_{t-1} = 0` where `done_t`. What is removed, `u_t = S'_t a_t`, solves a
    triangular system inside a chunk (the WY form: Yang et al., 2024, "Parallelizing Linear Transformers with the Delta
    Rule over Sequence Length", Section 3; with decay Yang et al., 2025, "Gated Delta Networks", Section 3.3); between
    chunks the state is carried. Computed in the dtype of `initial_state`.
    The backward pass of a sequence is written by hand: forward mode (`jax.jvp`) is not supported.

    Args:
        log_decay: at most 0; `[B, T, H, 1]`, one per head, or `[B, T, H, N]`, one per component of the keys, then
            at least `-64 / chunk_length`; None where nothing decays.
        removal_queries: `a`, `[B, T, H, N]`: what the decayed state is read with.
        removal_keys: `b`, `[B, T, H, N]`: where what was read is added; `-beta k` takes it away from the key.
        keys: `k`, `[B, T, H, N]`; None where they are `-b`, which is the delta rule and takes half the time.
        values: `[B, T, H, P]`.
        queries: `[B, T, H, N]`.
        done: `[B, T]` bool.
        initial_state: `[B, H, P, N]`.
        chunk_length: steps per chunk; `T` need not be a multiple of it. It changes the speed, not the result.

    Returns:
        `(final_state, outputs)`: `[B, H, P, N]` and `[B, T, H, P]`. Nothing from before a reset, not even a NaN,
        reaches what follows it.
    """
    inputs = [log_decay, removal_queries, removal_keys, keys, values, queries]
    inputs = jax.tree.map(lambda x: x.astype(initial_state.dtype), inputs)
    initial_state = where(done[:, 0], jnp.zeros_like(initial_state), initial_state)
    with jax.default_matmul_precision("highest"):
        if values.shape[1] == 1:
            return _step(initial_state, *jax.tree.map(lambda x: x[:, 0], inputs))
        nonfinite, inputs, initial_state = _separate_nonfinite(inputs, done, initial_state)
        final_state, outputs = _sequence(done, initial_state, min(chunk_length, values.shape[1]), *inputs)
    final_state = jnp.where(nonfinite[:, -1, None, None, None], jnp.nan, final_state)
    return final_state, jnp.where(nonfinite[..., None, None], jnp.nan, outputs)


def _step(
    state: Array,
    log_decay: Array | None,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array | None,
    values: Array,
    queries: Array,
) -> tuple[Array, Array]:
    if log_decay is not None:
        state = materialize(jnp.exp(log_decay))[:, :, None] * state
    inputs = removal_keys, -removal_keys if keys is None else keys, values
    removal_keys, keys, values = (materialize(x) for x in inputs)
    # Sums over the last axis are faster as products.
    removed = state @ removal_queries[..., None]
    state = state + removed * removal_keys[:, :, None] + values[..., None] * keys[:, :, None]
    return state, (state @ queries[..., None])[..., 0][:, None]


def _sequence(
    done: Array,
    initial_state: Array,
    length: int,
    log_decay: Array | None,
    removal_queries: Array,
    removal_keys: Array,
    keys: Array | None,
    values: Array,
    queries: Array,
) -> tuple[Array, Array]:
    """Run the recurrence over whole chunks.

    Write the chunk's steps as rows, `X_c` the carried state before the chunk, transposed to `[B, H, N, P]`, and
    `D_ij` the decay after step `j` up to step `i`, zero where they are of different episodes. What step `i` removes is

        u_i = D_i0 a_i X_c + sum_{j<i} D_ij (a_i . b_j) u_j + sum_{j<i} D_ij (a_i . k_j) v_j

    With `A_ij = D_ij a_i . b_j` for `j < i`, this is `(I - A) U = removing X_c + removed`, a unit lower triangular
    system in the `Q` rows of `U`: its inverse is formed once per chunk, for all chunks at the same time. Left for the
    scan over chunks are two products with the state, `U_c = removed_c + removing_c X_c` and
    `X_{c+1} = kept_c X_c + keys_c^T U_c + update_c`. Outputs then are products over all chunks at once.

    For the delta rule, `k = -b`, the values are part of the system: with `u - v` in place of `u` the third sum is gone.

    Arrays are `[C, B, H, Q, ...]`, with `C` chunks.
    """
    time = values.shape[1]
    inputs = [log_decay, removal_queries, removal_keys, keys, values, queries]
    inputs = jax.tree.map(lambda x: chunks.cut(x, length).swapaxes(0, 1), inputs)
    log_decay, removal_queries, removal_keys, keys, values, queries = inputs
    episodes = jax.tree.map(lambda x: x.swapaxes(0, 1), chunks.find_episodes(done, length))

    if log_decay is not None and log_decay.shape[-1] > 1:
        # Decays per component are bounded below, so exp(-sum) cannot overflow: what reads is multiplied by exp(sum),
        # what is written by exp(-sum), and their products decay by the sum between the two steps.
        until = jnp.broadcast_to(episodes.visible.astype(log_decay.dtype), (*log_decay.shape[:-1], length))
        from_start = _product(until, log_decay)  # (C, B, H, Q, N)
        decay, growth = jnp.exp(from_start), jnp.exp(-from_start)
        removal_queries, queries, removal_keys = removal_queries * decay, queries * decay, removal_keys * growth
        keys = None if keys is None else keys * growth
        at_end, log_decay = decay[..., -1:, :], None
    else:
        at_end = jnp.ones_like(values[..., -1:, :1])
    between, from_start = _decays(log_decay, episodes, values.dtype)
    to_end, kept = between[..., -1, :, None] * at_end, (from_start[..., -1:, :] * at_end).swapaxes(-1, -2)

    # The triangular system of what is removed.
    earlier = between * np.tri(length, k=-1, dtype=between.dtype)[None, None, None]  # D_ij for j < i
    solution = _inverse_of_unit_lower(chunks.products_of_pairs(removal_queries, removal_keys) * earlier)
    removing = _product(solution, removal_queries * from_start)  # (C, B, H, Q, N)
    scores = chunks.products_of_pairs(queries, removal_keys) * between  # (C, B, H, Q, Q)
    if keys is None:
        removed, update = -_product(solution, values), None  # (C, B, H, Q, P)
    else:
        removed = _product(solution, _product(chunks.products_of_pairs(removal_queries, keys) * earlier, values))
        update = chunks.product_over_steps(keys * to_end, values)
    final_state, states, removed = _carry(
        removed, removing, removal_keys * to_end, kept, update, initial_state.swapaxes(-1, -2)
    )
    outputs = _product(queries * from_start, states) + _product(scores, removed)
    if keys is not None:
        outputs = outputs + _product(chunks.products_of_pairs(queries, keys) * between, values)
    return final_state.swapaxes(-1, -2), chunks.join(outputs.swapaxes(0, 1), time)


def _decays(log_decay: Array | None, episodes: Episodes, dtype: jnp.dtype) -> tuple[Array, Array]:
    """The decay after step `j` up to step `i`, `[..., Q, Q]`, and from before the chunk up to `i`, `[..., Q, 1]`.

    Both are zero where another episode begins in between.
    """
    carried = episodes.carried[..., None]
    if log_decay is None:
        return episodes.visible.astype(dtype), carried.astype(dtype)
    from_start = chunks.decay_from_start(log_decay, episodes)
    return chunks.decay_between(log_decay, episodes), jnp.where(carried, from_start, 0.0)


def _separate_nonfinite(inputs: PyTree, done: Array, state: Array) -> tuple[Array, PyTree, Array]:
    """Zeros in place of steps, and of states, that hold a NaN or an infinity: products would spread them.

    Returns:
        `(nonfinite, inputs, state)`, with `nonfinite` `[B, T]` true from the first such step of an episode on.
    """
    *others, queries = inputs
    bad = jnp.stack([~jnp.isfinite(x).all((2, 3)) for x in jax.tree.leaves(others)]).any(0)
    bad_state = ~jnp.isfinite(state).all((1, 2, 3))
    others = jax.tree.map(lambda x: where(bad, jnp.zeros_like(x), x), others)
    time = jnp.arange(done.shape[1])[None]
    # The step each episode began at, and the last step, up to each, that was not finite: -1 is the carried state.
    start = jax.lax.cummax(jnp.where(done, time, -1), axis=1)
    last = jax.lax.cummax(jnp.where(bad, time, jnp.where(bad_state, -1, -2)[:, None]), axis=1)
    return last >= start, [*others, queries], where(bad_state, jnp.zeros_like(state), state)


@jax.custom_vjp
def _carry(
    removed: Array, removing: Array, keys: Array, kept: Array, update: Array | None, state: Array
) -> tuple[Array, Array, Array]:
    """Run `r_c = removed_c + removing_c S_{c-1}` and `S_c = kept_c * S_{c-1} + keys_c^T r_c + update_c` over chunks.

    `removed` is `[C, B, H, Q, P]`, `removing` and `keys` are `[C, B, H, Q, N]`, `kept` `[C, B, H, N, 1]` with 1 allowed
    in place of H and N, `update` `[C, B, H, N, P]`, or None for nothing, and `state`, before the first chunk,
    `[B, H, N, P]`. Gives the state after the last chunk, the state before each, and `r`.
    """
    return _forward(removed, removing, keys, kept, update, state)[0]


def _forward(
    removed: Array, removing: Array, keys: Array, kept: Array, update: Array | None, state: Array
) -> tuple[tuple[Array, Array, Array], tuple]:
    final_state, (states, removed) = _scan(removed, removing, _transpose(keys), kept, update, state)
    return (final_state, states, removed), (removing, keys, kept, update is None, states, removed)


def _backward(residuals: tuple, cotangents: tuple[Array, Array, Array]) -> tuple:
    """The gradient of the scan over chunks, itself a scan of the same form from the end.

    Write `R_c` `[Q, N]` for `removing`, `K_c` `[Q, N]` for `keys`, `g_c` `[N, 1]` for `kept`, `X_c` `[N, P]` for the
    state before chunk `c`, so that `U_c = removed_c + R_c X_c` and `X_{c+1} = g_c X_c + K_c^T U_c + update_c`. Let
    `dX_{c+1}` be all that the state after chunk `c` receives, and `du_c`, `dx_c` the cotangents of the outputs `U_c`
    and `X_c` themselves. Then

        dU_c = du_c + K_c dX_{c+1}                        [Q, P]
        dX_c = dx_c + g_c dX_{c+1} + R_c^T dU_c           [N, P]

    which is the forward recurrence with `R_c` and `K_c` exchanged, run from the last chunk to the first. The inputs
    receive `dremoved = dU`, `dR = dU X^T`, `dK = U dX_{c+1}^T`, `dg = sum_P X dX_{c+1}` and `dupdate = dX_{c+1}`.
    """
    removing, keys, kept, no_update, states, removed = residuals
    d_final, d_states, d_removed = cotangents
    with jax.default_matmul_precision("highest"):
        d_initial, (d_after, d_removed) = _scan(
            d_removed, keys, _transpose(removing), kept, d_states, d_final, reverse=True
        )
        d_kept = d_after * states
        d_kept = d_kept.sum(tuple(axis for axis, size in enumerate(kept.shape) if size == 1), keepdims=True)
        d_removing, d_keys = d_removed @ states.swapaxes(-1, -2), removed @ d_after.swapaxes(-1, -2)
    return d_removed, d_removing, d_keys, d_kept, None if no_update else d_after, d_initial


_carry.defvjp(_forward, _backward)


def _scan(
    removed: Array,
    removing: Array,
    keys: Array,
    kept: Array,
    update: Array | None,
    state: Array,
    reverse: bool = False,
) -> tuple[Array, tuple[Array, Array]]:
    def body(state: Array, xs: tuple) -> tuple[Array, tuple[Array, Array]]:
        removed, removing, keys, kept, update = xs
        removed = removed + removing @ state
        new = kept * state + keys @ removed
        return new if update is None else new + update, (state, removed)

    return jax.lax.scan(body, state, (removed, removing, keys, kept, update), reverse=reverse)


@jax.custom_vjp
def _inverse_of_unit_lower(strictly_lower: Array) -> Array:
    """`(I - A)^{-1}` of strictly lower triangular `A` `[..., Q, Q]`, from its diagonal blocks of 1, 2, 4, ... steps.

    Two inverted blocks `P`, `R` on the diagonal and the block `A_21` below them make one of twice the size:

        [[P^-1, 0], [-A_21, R^-1]]^-1 = [[P, 0], [R A_21 P, R]]

    so `log2(Q)` rounds of two products invert all of it. As stable as substitution; the sum of powers of `A` would
    cancel where keys repeat. A batched triangular solve is not used: on few cores jaxlib's waits for ever where two
    networks learn side by side.
    """
    length = strictly_lower.shape[-1]
    inverse = jnp.broadcast_to(np.eye(length, dtype=strictly_lower.dtype), strictly_lower.shape)
    i, j = np.arange(length)[:, None], np.arange(length)
    size = 1
    while size < length:
        below = (i // (2 * size) == j // (2 * size)) & (i // size > j // size)
        below = np.expand_dims(below, tuple(range(strictly_lower.ndim - 2)))
        # `inverse` is block diagonal here, so on the blocks below the product is R A_21 P and nothing else.
        product = strictly_lower if size == 1 else inverse @ strictly_lower @ inverse
        inverse = jnp.where(below, product, inverse)
        size *= 2
    return inverse


def _inverse_forward(strictly_lower: Array) -> tuple[Array, Array]:
    inverse = _inverse_of_unit_lower(strictly_lower)
    return inverse, inverse


def _inverse_backward(inverse: Array, d_inverse: Array) -> tuple[Array]:
    """The gradient of `T = (I - A)^{-1}`: `dA = T^T dT T^T`, of shape `[..., Q, Q]`.

    From `T (I - A) = I`, a change `E` of `A` changes `T` by `T E T`; the inner product with `dT` is that of `E` with
    `T^T dT T^T`. That is two products, instead of the gradients of every round above. Entries on and above the diagonal
    are filled too: the mask that made `A` strictly lower drops them.
    """
    transposed = _transpose(inverse)
    with jax.default_matmul_precision("highest"):
        return (transposed @ d_inverse @ transposed,)


_inverse_of_unit_lower.defvjp(_inverse_forward, _inverse_backward)


@jax.custom_vjp
def _product(x: Array, y: Array) -> Array:
    """`x @ y`, `[..., M, K]` and `[..., K, N]`, whose gradient stores what it transposes."""
    return x @ y


def _product_forward(x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, y), (x, y)


def _product_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """The gradients of `z = x y`: `dx = dz y^T` and `dy = x^T dz`, with the transpositions of `chunks`."""
    x, y = residuals
    with jax.default_matmul_precision("highest"):
        return chunks.products_of_pairs(cotangent, y), chunks.product_over_steps(x, cotangent)


_product.defvjp(_product_forward, _product_backward)


def _transpose(x: Array) -> Array:
    """The last two axes swapped, and stored: a CPU is slow at many small products with a transposed first factor."""
    return jax.lax.optimization_barrier(x.swapaxes(-1, -2))
