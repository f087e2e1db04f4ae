"""The gated recurrence against a plain scan, gradients included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.recurrence import recurrence
from memorax.testing import check_close
from memorax.types import where

T, B, H = 9, 3, 4


def step(gates: tuple, recurrent_gates: tuple, state: tuple) -> tuple:
    """Two gates, two parts of state: something no cell computes."""
    c, h = state
    c = c * jax.nn.sigmoid(gates[0] + recurrent_gates[0]) + gates[1] * jnp.tanh(recurrent_gates[1])
    return c, jnp.tanh(c) + 0.5 * h


def loop(kernel: jax.Array, bias: jax.Array, gates: tuple, done: jax.Array, state: tuple, start: tuple) -> tuple:
    def body(state: tuple, xs: tuple) -> tuple:
        gates, done = xs
        state = where(done, start, state)
        state = step(gates, tuple(jnp.split(state[1] @ kernel + bias[None], 2, axis=-1)), state)
        return state, state[1]

    return jax.lax.scan(body, state, (gates, done))


def test_equals_a_loop_with_its_gradients() -> None:
    keys = jax.random.split(jax.random.key(0), 8)
    kernel, bias = jax.random.normal(keys[0], (H, 2 * H)), jax.random.normal(keys[1], (2 * H,))
    gates = tuple(jax.random.normal(key, (T, B, H)) for key in keys[2:4])
    state = tuple(jax.random.normal(key, (B, H)) for key in keys[4:6])
    done = jax.random.bernoulli(keys[6], 0.3, (T, B)).at[0].set(jnp.array([True, False, False]))
    start = (jnp.full((B, H), 0.3), jnp.full((B, H), -0.2))

    def loss(run: object) -> object:
        def total(kernel: jax.Array, bias: jax.Array, gates: tuple, state: tuple) -> jax.Array:
            final, outputs = run(kernel, bias, gates, done, state, start)
            return jnp.sum(outputs**3) + jnp.sum(final[0] ** 2) + jnp.sum(jnp.sin(final[1]))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)))(kernel, bias, gates, state)

    fast = loss(lambda *arguments: recurrence(step, *arguments))
    plain = loss(loop)
    check_close(fast, plain)
    assert all(not np.any(leaf[0]) for leaf in fast[1][3])  # the first environment reset at once
