"""Windowed attention: positions, window and isolation. Its values are held to NumPy in `test_parity`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.sequence_models.ops.windowed_attention import count_positions, windowed_attention
from memorax.testing import check_close


def test_positions_go_on_from_the_carry_and_restart() -> None:
    done = jnp.array([[False, False, True, False], [True, False, False, True]])
    positions = count_positions(done, jnp.array([5, 2_000_000_000], jnp.int32))
    np.testing.assert_array_equal(positions, [[5, 6, 0, 1], [0, 1, 2, 0]])


def attend(cached: list, values: list, positions: list, bias: jax.Array | None = None) -> tuple:
    """Equal keys: where no bias says otherwise, each output is the mean of the values in reach."""
    cached, values = (jnp.asarray(x, jnp.float32)[None, None, :, None] for x in (cached, values))
    run = jax.jit(lambda *arguments: windowed_attention(*arguments, bias))
    nothing, queries = jnp.zeros_like(cached), jnp.zeros_like(values)
    _, cached, outputs = run(queries, queries, values, jnp.asarray([positions]), nothing, cached)
    return cached[0, 0, :, 0], outputs[0, 0, :, 0]


def test_window_and_episode_bound_what_is_seen() -> None:
    # A ring of 3 that holds 10, 11, 12 at positions 4, 5, 6; then 13 and 14, and a new episode of 0, 1, 2, 3.
    cached, seen = attend([12, 10, 11], [13, 14, 0, 1, 2, 3], [7, 8, 0, 1, 2, 3])
    np.testing.assert_allclose(seen, [12, 13, 0, 0.5, 1, 2])
    np.testing.assert_array_equal(cached, [3, 1, 2])


def test_one_step_writes_one_slot() -> None:
    cached, seen = attend([12, 10, 11], [13], [7])
    np.testing.assert_array_equal(cached, [12, 13, 11])
    np.testing.assert_allclose(seen, [12])
    cached, seen = attend([12, np.nan, 11], [13], [0])
    np.testing.assert_array_equal(cached, [13, 0, 0])
    np.testing.assert_allclose(seen, [13])


def test_a_nan_reaches_its_window_and_no_further() -> None:
    _, seen = attend([0, 0, 0], [1, 1, np.nan, 1, 1, 1, 1], range(7))
    np.testing.assert_array_equal(jnp.isnan(seen), [False, False, True, True, True, False, False])


@pytest.mark.parametrize("per_query", [False, True])
@pytest.mark.parametrize("time", [1, 3, 9])
def test_a_bias_is_added_by_age(time: int, per_query: bool) -> None:
    ages = jnp.arange(4)[None, None, None]
    wanted = jnp.arange(time)[None, None, :, None] % 4 if per_query else jnp.ones((1, 1, 1, 1), jnp.int32)
    bias = jnp.where(ages == wanted, 0.0, -1e9)

    # The value at each position is the position itself; the ring of 4 holds positions 5 to 8.
    _, seen = attend([8, 5, 6, 7], np.arange(9, 9 + time), range(9, 9 + time), bias)
    expected = np.arange(9, 9 + time) - np.broadcast_to(wanted[0, 0, :, 0], time)
    np.testing.assert_allclose(seen, expected)


@pytest.mark.parametrize("time", [1, 3, 9])
def test_heads_that_share_keys_are_heads_with_copies_of_them(time: int) -> None:
    rng = np.random.default_rng(0)

    def random(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    queries, keys, values = random(2, 6, time, 4), random(2, 3, time, 4), random(2, 3, time, 5)
    cached_keys, cached_values, bias = random(2, 3, 4, 4), random(2, 3, 4, 5), random(2, 6, time, 4)
    positions = 7 + jnp.arange(time)[None] + jnp.arange(2)[:, None]
    run = jax.jit(windowed_attention)
    *_, shared = run(queries, keys, values, positions, cached_keys, cached_values, bias)
    copies = (jnp.repeat(x, 2, axis=1) for x in (keys, values, cached_keys, cached_values))
    keys, values, cached_keys, cached_values = copies
    *_, apart = run(queries, keys, values, positions, cached_keys, cached_values, bias)
    assert shared.shape == (2, 6, time, 5)
    check_close(shared, apart, 1e-6)


def test_gradient_is_that_of_a_plain_softmax() -> None:
    rng = np.random.default_rng(0)
    length, time = 4, 7

    def random(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    queries, keys, values = random(2, 2, time, 3), random(2, 1, time, 3), random(2, 1, time, 5)
    cached_keys, cached_values, bias = random(2, 1, length, 3), random(2, 1, length, 5), random(1, 2, 1, length)
    positions, weights = jnp.broadcast_to(8 + jnp.arange(time)[None], (2, time)), random(2, 2, time, 5)

    def ring(*inputs: jax.Array) -> jax.Array:
        *others, bias = inputs
        return jnp.sum(weights * windowed_attention(*others[:3], positions, *others[3:], bias)[2])

    def plain(*inputs: jax.Array) -> jax.Array:
        queries, keys, values, cached_keys, cached_values, bias = inputs
        keys, values = (jnp.concatenate(x, axis=2) for x in ((cached_keys, keys), (cached_values, values)))
        ages = np.arange(time)[:, None] + length - np.arange(length + time)
        scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(3) + bias[..., 0, np.clip(ages, 0, length - 1)]
        scores = jnp.where(((ages >= 0) & (ages < length))[None, None], scores, -jnp.inf)
        return jnp.sum(weights * (jax.nn.softmax(scores) @ values))

    inputs = queries, keys, values, cached_keys, cached_values, bias
    check_close(*(jax.jit(jax.grad(loss, argnums=range(6)))(*inputs) for loss in (ring, plain)))
