"""The chunk-parallel matrix-state recurrence against plain steps, gradients included."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.sequence_models.ops.state_space_duality import state_space_duality
from memorax.types import where

B, T, H, P, N = 2, 13, 3, 4, 5


def loop(
    log_decay: jax.Array, keys: jax.Array, values: jax.Array, queries: jax.Array, done: jax.Array, state: jax.Array
) -> tuple:
    def body(state: jax.Array, xs: tuple) -> tuple:
        log_decay, keys, values, queries, done = xs
        decayed = jnp.exp(log_decay)[..., None, None] * where(done, jnp.zeros_like(state), state)
        state = decayed + jnp.einsum("bhp,bn->bhpn", values, keys)
        return state, jnp.einsum("bhpn,bn->bhp", state, queries)

    time_first = (x.swapaxes(0, 1) for x in (log_decay, keys, values, queries, done))
    state, outputs = jax.lax.scan(body, state, tuple(time_first))
    return state, outputs.swapaxes(0, 1)


def arguments(decay: float = 1.0) -> tuple:
    k = jax.random.split(jax.random.key(0), 6)
    shapes = (B, T, H), (B, T, N), (B, T, H, P), (B, T, N)
    log_decay, keys, values, queries = (jax.random.normal(key, shape) for key, shape in zip(k[:4], shapes, strict=True))
    done = jax.random.bernoulli(k[4], 0.2, (B, T)).at[0, 0].set(True)
    return -decay * jnp.abs(log_decay), keys, values, queries, done, jax.random.normal(k[5], (B, H, P, N))


chunks_of_four = jax.jit(functools.partial(state_space_duality, chunk_length=4))


@pytest.mark.parametrize("chunk_length", [1, 4, 64])
def test_equals_a_loop_with_its_gradients(chunk_length: int) -> None:
    *inputs, done, state = arguments()

    def loss(run: object) -> object:
        def total(inputs: list, state: jax.Array) -> jax.Array:
            final, outputs = run(*inputs, done, state)
            return jnp.sum(outputs**2) + jnp.sum(jnp.sin(final))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(inputs, state)

    chunked, plain = loss(functools.partial(state_space_duality, chunk_length=chunk_length)), loss(loop)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), chunked, plain)


def test_weak_decay_after_strong_decay_keeps_its_digits() -> None:
    log_decay, *rest = arguments()
    log_decay = log_decay.at[:, ::3].add(-1000.0)
    _, expected = jax.jit(loop)(log_decay, *rest)
    _, outputs = chunks_of_four(log_decay, *rest)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("which", range(4))
def test_a_nan_stays_in_its_episode_and_reaches_the_rest_of_it(which: int) -> None:
    inputs, (done, state) = list(arguments()[:4]), arguments()[4:]
    done = jnp.zeros_like(done).at[:, 9].set(True)
    _, clean = chunks_of_four(*inputs, done, state)
    inputs[which] = inputs[which].at[:, 2].set(jnp.nan)
    _, outputs = chunks_of_four(*inputs, done, state)
    np.testing.assert_allclose(outputs[:, :2], clean[:, :2], rtol=1e-6)
    np.testing.assert_allclose(outputs[:, 9:], clean[:, 9:], rtol=1e-6)
    hidden = 3 if which == 3 else 9  # a query is read at its own step alone
    assert bool(jnp.isnan(outputs[:, 2:hidden]).all())
