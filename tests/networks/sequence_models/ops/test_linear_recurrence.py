"""Both forms of the diagonal recurrence against plain steps, gradients included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.testing import check_close
from memorax.types import where

T, B, D = 11, 4, 3


def loop(decay: jax.Array, inputs: jax.Array, done: jax.Array, state: jax.Array) -> tuple:
    def body(state: jax.Array, xs: tuple) -> tuple:
        decay, inputs, done = xs
        state = decay * where(done, jnp.zeros_like(state), state) + inputs
        return state, state

    every_decay = decay if decay.ndim == inputs.ndim else jnp.broadcast_to(decay[None, None], inputs.shape)
    return jax.lax.scan(body, state, (every_decay, inputs, done))


DECAYS = {"constant": (D,), "varying": (T, B, D), "varying_shared": (T, B, 1)}


def arguments(dtype: jnp.dtype, decays: str) -> tuple:
    keys = jax.random.split(jax.random.key(0), 4)
    decay = jax.random.normal(keys[0], DECAYS[decays], dtype)
    inputs, state = jax.random.normal(keys[1], (T, B, D), dtype), jax.random.normal(keys[2], (B, D), dtype)
    done = jax.random.bernoulli(keys[3], 0.3, (T, B)).at[0].set(jnp.array([True, False, False, False]))
    return decay, inputs, done, state


@pytest.fixture(params=["cpu", "gpu"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The plain scan of a CPU, and the associative scan of everything else."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("decays", DECAYS)
def test_equals_a_loop_with_its_gradients(backend: str, dtype: jnp.dtype, decays: str) -> None:
    decay, inputs, done, state = arguments(dtype, decays)

    def loss(run: object) -> object:
        def total(decay: jax.Array, inputs: jax.Array, state: jax.Array) -> jax.Array:
            final, states = run(decay, inputs, done, state)
            return jnp.sum(jnp.abs(states) ** 2) + jnp.sum((2 * final).real ** 3)

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))(decay, inputs, state)

    check_close(loss(linear_recurrence), loss(loop))


def test_a_nan_does_not_survive_a_reset(backend: str) -> None:
    decay, inputs, done, state = arguments(jnp.float32, "varying")
    done = done.at[5].set(True)
    run = jax.jit(lambda *arguments: linear_recurrence(*arguments))
    _, clean = run(decay, inputs, done, state)
    spoilt = (x.at[:5].set(jnp.nan) for x in (decay, inputs))
    _, states = run(*spoilt, done, jnp.full_like(state, jnp.inf))
    check_close(states[5:], clean[5:], 1e-6)


def test_state_is_float32_under_bfloat16_inputs(backend: str) -> None:
    decay, inputs, done, state = arguments(jnp.float32, "constant")
    halves = decay.astype(jnp.bfloat16), inputs.astype(jnp.bfloat16)
    final, states = jax.eval_shape(lambda *arguments: linear_recurrence(*arguments), *halves, done, state)
    assert final.dtype == states.dtype == jnp.float32


def test_decays_at_the_ends_of_the_unit_interval(backend: str) -> None:
    decay = jnp.broadcast_to(jnp.array([0.0, 1.0, 1 - 1e-7, 1e-38]), (1000, 1, 4))
    inputs, done = jnp.ones((1000, 1, 4)), jnp.zeros((1000, 1), bool)
    final, _ = jax.jit(lambda *arguments: linear_recurrence(*arguments))(decay, inputs, done, jnp.zeros((1, 4)))
    np.testing.assert_allclose(final[0], [1.0, 1000.0, 1000.0, 1.0], rtol=1e-3)
