"""Chunk-parallel diagonal state spaces against plain steps, gradients included."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from memorax.networks.sequence_models.ops.diagonal_state_space import diagonal_state_space
from memorax.testing import check_close
from memorax.types import where

B, T, N, H = 3, 13, 2, 4


def loop(
    log_decay: jax.Array, gain: jax.Array, readout: jax.Array, inputs: jax.Array, done: jax.Array, state: jax.Array
) -> tuple:
    def body(state: jax.Array, xs: tuple) -> tuple:
        x, done = xs
        state = jnp.exp(log_decay)[None] * where(done, jnp.zeros_like(state), state) + gain[None] * x[:, None]
        return state, (readout[None] * state).sum(1).real

    state, outputs = jax.lax.scan(body, state, (inputs.swapaxes(0, 1), done.T))
    return state, outputs.swapaxes(0, 1)


def arguments() -> tuple:
    keys = iter(jax.random.split(jax.random.key(0), 9))
    damping = jnp.array([[-1e-4], [-3.0]]) * jnp.ones((N, H))
    log_decay = jax.lax.complex(damping, jax.random.normal(next(keys), (N, H)))
    gain, readout, state = (
        jax.random.normal(next(keys), shape, jnp.complex64) for shape in ((N, H), (N, H), (B, N, H))
    )
    done = jax.random.bernoulli(next(keys), 0.2, (B, T)).at[0, :2].set(True)
    return log_decay, gain, readout, jax.random.normal(next(keys), (B, T, H)), done, state


@pytest.mark.parametrize("chunk_length", [1, 4, 6, 64])
def test_equals_a_loop_with_its_gradients(chunk_length: int) -> None:
    def gradient(run: object) -> object:
        def total(
            log_decay: jax.Array, gain: jax.Array, readout: jax.Array, inputs: jax.Array, state: jax.Array
        ) -> tuple:
            final, outputs = run(log_decay, gain, readout, inputs, done, state)
            return jnp.sum(jnp.sin(outputs)) + jnp.sum(jnp.abs(final) ** 2), (final, outputs)

        return jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4), has_aux=True))(*inputs, state)

    *inputs, done, state = arguments()
    chunked, plain = gradient(functools.partial(diagonal_state_space, chunk_length=chunk_length)), gradient(loop)
    check_close(chunked, plain)


def test_a_nan_stays_in_its_channel_and_episode() -> None:
    *system, inputs, done, state = arguments()
    done = jnp.zeros_like(done).at[:, 9].set(True)
    run = jax.jit(functools.partial(diagonal_state_space, chunk_length=4))
    _, clean = run(*system, inputs, done, state)
    _, outputs = run(*system, inputs.at[:, 2, 1].set(jnp.nan), done, state)
    assert bool(jnp.isnan(outputs[:, 2:9, 1]).all())
    check_close(outputs.at[:, 2:9, 1].set(0.0), clean.at[:, 2:9, 1].set(0.0), 1e-6)
