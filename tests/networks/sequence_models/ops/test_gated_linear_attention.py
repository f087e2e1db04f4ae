"""The chunk-parallel matrix-state recurrence against plain steps, gradients included."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.sequence_models.ops.gated_linear_attention import (
    gated_linear_attention,
    weighted_linear_attention,
)
from memorax.testing import check_close
from memorax.types import where

B, T, H, P, N = 2, 13, 3, 4, 5
FORMS = {"one_decay": (1, H), "one_decay_shared_keys": (1, 1), "many_decays": (N, H)}


def loop(
    log_decay: jax.Array, keys: jax.Array, values: jax.Array, queries: jax.Array, done: jax.Array, state: jax.Array
) -> tuple:
    def body(state: jax.Array, xs: tuple) -> tuple:
        log_decay, key, value, query, done = xs
        state = jnp.exp(log_decay)[:, :, None] * where(done, jnp.zeros_like(state), state)
        state = state + value[..., None] * key[:, :, None]
        return state, (state * query[:, :, None]).sum(-1)

    time_first = (x.swapaxes(0, 1) for x in (log_decay, keys, values, queries, done))
    state, outputs = jax.lax.scan(body, state, tuple(time_first))
    return state, outputs.swapaxes(0, 1)


def arguments(form: str = "one_decay", time: int = T) -> tuple:
    num_decays, num_keys = FORMS[form]
    k = jax.random.split(jax.random.key(0), 6)
    shapes = (B, time, H, num_decays), (B, time, num_keys, N), (B, time, H, P), (B, time, num_keys, N)
    log_decay, keys, values, queries = (jax.random.normal(key, shape) for key, shape in zip(k[:4], shapes, strict=True))
    done = jax.random.bernoulli(k[4], 0.2, (B, time)).at[0, 0].set(True)
    return -jnp.abs(log_decay), keys, values, queries, done, jax.random.normal(k[5], (B, H, P, N))


chunks_of_eight = jax.jit(functools.partial(gated_linear_attention, chunk_length=8))


@pytest.mark.parametrize("chunk_length", [1, 4, 64])
@pytest.mark.parametrize("form", FORMS)
def test_equals_a_loop_with_its_gradients(form: str, chunk_length: int) -> None:
    *inputs, done, state = arguments(form)

    def loss(run: object) -> object:
        def total(inputs: list, state: jax.Array) -> jax.Array:
            final, outputs = run(*inputs, done, state)
            return jnp.sum(outputs**2) + jnp.sum(jnp.sin(final))

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(inputs, state)

    chunked, plain = loss(functools.partial(gated_linear_attention, chunk_length=chunk_length)), loss(loop)
    check_close(chunked, plain)


@pytest.mark.parametrize(
    ("form", "strongest"), [("one_decay", -1000.0), ("one_decay_shared_keys", -1000.0), ("many_decays", -8.0)]
)
def test_strong_decays_neither_overflow_nor_cost_digits(form: str, strongest: float) -> None:
    log_decay, *rest = arguments(form, time=24)
    log_decay = log_decay.at[:, ::3].set(strongest).at[:, 1::9].set(0.0)
    _, expected = jax.jit(loop)(log_decay, *rest)
    _, outputs = chunks_of_eight(log_decay, *rest)
    check_close(outputs, expected)
    gradient = jax.jit(jax.grad(lambda x: chunks_of_eight(x, *rest)[1].sum()))(log_decay)
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize("which", range(4))
def test_a_nan_stays_in_its_episode_and_reaches_the_rest_of_it(which: int) -> None:
    inputs, (done, state) = list(arguments()[:4]), arguments()[4:]
    done = jnp.zeros_like(done).at[:, 9].set(True)
    _, clean = chunks_of_eight(*inputs, done, state)
    inputs[which] = inputs[which].at[:, 2].set(jnp.nan)
    _, outputs = chunks_of_eight(*inputs, done, state)
    check_close(outputs[:, :2], clean[:, :2], 1e-6)
    check_close(outputs[:, 9:], clean[:, 9:], 1e-6)
    hidden = 3 if which == 3 else 9  # a query is read at its own step alone
    assert bool(jnp.isnan(outputs[:, 2:hidden]).all())


@pytest.mark.parametrize(("num_decays", "time"), [(1, T), (N, T), (1, 1)])
def test_weights_are_what_a_value_that_is_always_one_is_read_as(num_decays: int, time: int) -> None:
    log_decay, keys, values, queries, done, _ = arguments("one_decay" if num_decays == 1 else "many_decays", time)
    state = jax.random.normal(jax.random.key(1), (B, H, P + 1, N))
    nan = jnp.zeros_like(done).at[0, time // 2].set(True)[..., None, None]

    def with_ones(log_decay: jax.Array, keys: jax.Array, values: jax.Array, queries: jax.Array, state: jax.Array):
        values = jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)
        final, outputs = gated_linear_attention(log_decay, keys, values, queries, done, state, 4)
        return final, outputs[..., :-1], outputs[..., -1:]

    def weighted(*arrays: jax.Array) -> tuple:
        return weighted_linear_attention(*arrays[:4], done, arrays[4], 4)

    def run(function: object, values: jax.Array) -> tuple:
        def total(*arrays: jax.Array) -> tuple:
            results = function(*arrays)
            return sum(jnp.sum(jnp.sin(x)) for x in results), results

        return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3, 4), has_aux=True))(
            log_decay, keys, values, queries, state
        )

    for inputs in (values, jnp.where(nan, jnp.nan, values)):
        (_, results), gradients = run(weighted, inputs)
        (_, expected), expected_gradients = run(with_ones, inputs)
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(jnp.isnan(x), jnp.isnan(y)), results, expected)
        check_close(*jax.tree.map(jnp.nan_to_num, (results, expected)))
        if inputs is values:
            check_close(gradients, expected_gradients)
