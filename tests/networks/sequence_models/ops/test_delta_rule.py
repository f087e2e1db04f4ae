"""The chunk-parallel delta rule against plain steps, gradients included."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from memorax.networks.sequence_models.ops.delta_rule import delta_rule
from memorax.testing import check_close
from memorax.types import where

B, T, H, P, N = 2, 13, 3, 4, 5


def loop(
    log_decay: jax.Array,
    removal_queries: jax.Array,
    removal_keys: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    queries: jax.Array,
    done: jax.Array,
    state: jax.Array,
) -> tuple:
    def body(state: jax.Array, xs: tuple) -> tuple:
        log_decay, removal_query, removal_key, key, value, query, done = xs
        state = jnp.exp(log_decay)[:, :, None] * where(done, jnp.zeros_like(state), state)
        removed = (state * removal_query[:, :, None]).sum(-1)
        state = state + removed[..., None] * removal_key[:, :, None]
        state = state + value[..., None] * key[:, :, None]
        return state, (state * query[:, :, None]).sum(-1)

    inputs = log_decay, removal_queries, removal_keys, keys, values, queries, done
    state, outputs = jax.lax.scan(body, state, tuple(x.swapaxes(0, 1) for x in inputs))
    return state, outputs.swapaxes(0, 1)


def arguments(num_decays: int = N, time: int = T) -> tuple:
    k = jax.random.split(jax.random.key(0), 8)
    log_decay, keys, queries, other = (
        jax.random.normal(key, (B, time, H, size)) for key, size in zip(k[:4], (num_decays, N, N, N), strict=True)
    )
    keys, other = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (keys, other))
    values = jax.random.normal(k[4], (B, time, H, P))
    done = jax.random.bernoulli(k[5], 0.2, (B, time)).at[0, 0].set(True)
    state = jax.random.normal(k[6], (B, H, P, N))
    return -jnp.abs(log_decay), keys, -0.8 * other, keys, values, queries, done, state


chunks_of_eight = jax.jit(functools.partial(delta_rule, chunk_length=8))


@pytest.mark.parametrize("chunk_length", [1, 4, 64])
@pytest.mark.parametrize("num_decays", [1, N])
def test_equals_a_loop_with_its_gradients(num_decays: int, chunk_length: int) -> None:
    *inputs, done, state = arguments(num_decays)

    def loss(run: object) -> object:
        def total(inputs: list, state: jax.Array) -> jax.Array:
            final, outputs = run(*inputs, done, state)
            return jnp.sum(outputs**2) + jnp.sum(jnp.sin(final))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(inputs, state)

    chunked, plain = loss(functools.partial(delta_rule, chunk_length=chunk_length)), loss(loop)
    check_close(chunked, plain)


@pytest.mark.parametrize(("num_decays", "strongest"), [(1, -1000.0), (N, -8.0)])
def test_strong_decays_neither_overflow_nor_cost_digits(num_decays: int, strongest: float) -> None:
    log_decay, *rest = arguments(num_decays, time=24)
    log_decay = log_decay.at[:, ::3].set(strongest).at[:, 1::9].set(0.0)
    _, expected = jax.jit(loop)(log_decay, *rest)
    _, outputs = chunks_of_eight(log_decay, *rest)
    check_close(outputs, expected)
    gradient = jax.jit(jax.grad(lambda x: chunks_of_eight(x, *rest)[1].sum()))(log_decay)
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize("time", [1, 13])
def test_without_keys_and_decay_it_is_the_delta_rule(time: int) -> None:
    log_decay, query, key, _, *rest = arguments(1, time)
    _, outputs = chunks_of_eight(None, query, key, None, *rest)
    _, expected = jax.jit(loop)(jnp.zeros_like(log_decay), query, key, -key, *rest)
    check_close(outputs, expected)


def test_one_key_again_and_again_is_overwritten_exactly() -> None:
    _, key, _, _, values, _, done, state = arguments(1, time=64)
    key = jnp.broadcast_to(key[:1, :1, :1], key.shape)
    log_decay = jnp.zeros((*key.shape[:3], 1))
    run = jax.jit(functools.partial(delta_rule, chunk_length=32))
    _, outputs = run(log_decay, key, -key, key, values, key, jnp.zeros_like(done), state)
    check_close(outputs, values)


@pytest.mark.parametrize("which", range(6))
def test_a_nan_stays_in_its_episode_and_reaches_the_rest_of_it(which: int) -> None:
    *inputs, done, state = arguments()
    done = jnp.zeros_like(done).at[:, 9].set(True)
    final, clean = chunks_of_eight(*inputs, done, state)
    inputs[which] = inputs[which].at[:, 2].set(jnp.nan)
    ended, outputs = chunks_of_eight(*inputs, done, state)
    check_close(ended, final, 1e-6)
    check_close(outputs[:, :2], clean[:, :2], 1e-6)
    check_close(outputs[:, 9:], clean[:, 9:], 1e-6)
    hidden = 3 if which == 5 else 9  # a query is read at its own step alone
    assert bool(jnp.isnan(outputs[:, 2:hidden]).all())


def test_a_nan_in_the_state_stays_in_its_episode() -> None:
    *inputs, done, state = arguments()
    done = jnp.zeros_like(done).at[0, 9].set(True)
    _, clean = chunks_of_eight(*inputs, done, state)
    final, outputs = chunks_of_eight(*inputs, done, state.at[:, 0, 0, 0].set(jnp.nan))
    check_close(outputs[0, 9:], clean[0, 9:], 1e-6)
    assert bool(jnp.isnan(outputs[0, :9]).all() & jnp.isnan(outputs[1]).all())
    assert bool(jnp.isfinite(final[0]).all() & jnp.isnan(final[1]).all())


def test_no_lapack_kernel_is_called() -> None:
    """On two cores, batched ones of actor and critic wait for ever for each other's threads."""
    *inputs, done, state = arguments()
    program = jax.jit(jax.grad(lambda values: delta_rule(*inputs[:4], values, inputs[5], done, state)[1].sum()))
    assert "lapack" not in program.lower(inputs[4]).as_text()
