"""Windowed attention: positions, window and isolation. Its values are held to NumPy in `test_parity`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.networks.sequence_models.ops.windowed_attention import count_positions, windowed_attention


def no_bias(ages: np.ndarray) -> jax.Array:
    return jnp.zeros((1, 1, 1))


def test_positions_go_on_from_the_carry_and_restart() -> None:
    done = jnp.array([[False, False, True, False], [True, False, False, True]])
    positions = count_positions(done, jnp.array([5, 2_000_000_000], jnp.int32))
    np.testing.assert_array_equal(positions, [[5, 6, 0, 1], [0, 1, 2, 0]])


def attend(values: jax.Array, positions: jax.Array, context_length: int) -> jax.Array:
    """Equal scores: each output is the mean of the values in reach."""
    time = positions.shape[1]
    run = jax.jit(lambda *arguments: windowed_attention(*arguments, context_length, no_bias))
    return run(jnp.zeros((1, 1, time, 2)), jnp.zeros_like(values), values, positions)[0, 0, :, 0]


def test_window_and_episode_bound_what_is_seen() -> None:
    values = jnp.arange(9.0)[None, None, :, None] * jnp.ones((1, 1, 1, 2))  # two before the first query
    seen = attend(values, jnp.array([[1, 2, 3, 0, 1, 2, 3]]), context_length=3)
    np.testing.assert_allclose(seen, [1.5, 2.0, 3.0, 5.0, 5.5, 6.0, 7.0])


def test_a_nan_reaches_its_window_and_no_further() -> None:
    values = jnp.ones((1, 1, 11, 2)).at[:, :, 3, 0].set(jnp.nan)
    seen = attend(values, jnp.arange(5, 14)[None], context_length=3)
    np.testing.assert_array_equal(jnp.isnan(seen), [False, True, True, True] + 5 * [False])


def test_a_bias_is_added_by_age() -> None:
    def only_the_one_before(ages: np.ndarray) -> jax.Array:
        return jnp.where(jnp.asarray(ages)[None] == 1, 0.0, -1e9)

    values = jnp.arange(12.0)[None, None, :, None]
    for time in (1, 3, 9):
        queries, positions = jnp.zeros((1, 1, time, 1)), jnp.full((1, time), 100)
        keys = values[:, :, : time + 3]
        seen = windowed_attention(queries, jnp.zeros_like(keys), keys, positions, 4, only_the_one_before)
        np.testing.assert_allclose(seen[0, 0, :, 0], np.arange(2, 2 + time))
