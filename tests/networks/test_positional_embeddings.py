"""Rotary embeddings against the formula in double precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.networks.positional_embeddings import RoPE, cosine
from memorax.testing import check_close
from tests.networks.sequence_models import references


@pytest.mark.parametrize("start", [0, 10_000, 100_000_000])
def test_scores_depend_on_distance_alone_however_long_the_episode(start: int) -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    queries, others = (jax.random.normal(key, (1, 2, 50, 16)) for key in keys)
    positions = start + jnp.arange(50)[None]
    rotated = RoPE().apply({}, queries, others, positions)
    scores = jnp.einsum("bhqd,bhkd->bhqk", *rotated)
    exact = (
        np.stack([references.rope(np.asarray(x[0, :, t], np.float64), t) for t in range(50)], 1)
        for x in (queries, others)
    )
    check_close(scores[0], np.einsum("hqd,hkd->hqk", *exact))


def test_first_position_is_not_rotated() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 3, 1, 8))
    queries, keys = RoPE().apply({}, x, 2 * x, jnp.zeros((2, 1), jnp.int32))
    np.testing.assert_array_equal(queries, x)
    np.testing.assert_array_equal(keys, 2 * x)


def test_gradient_turns_back() -> None:
    """The rotation is orthogonal: the gradient of a product with its result is the other factor, turned back."""
    keys = jax.random.split(jax.random.key(0), 2)
    queries, weights = (jax.random.normal(key, (1, 2, 5, 6)) for key in keys)
    positions = jnp.arange(3, 8)[None]

    def loss(queries: jax.Array) -> jax.Array:
        return jnp.sum(weights * RoPE().apply({}, queries, queries, positions)[0])

    gradient = jax.jit(jax.grad(loss))(queries)
    expected, _ = RoPE().apply({}, weights, weights, -positions)
    check_close(gradient, expected)


def test_the_cosine_of_a_fraction_of_a_turn() -> None:
    phase = np.concatenate([np.arange(2**14, dtype=np.uint32) << 18, np.array([2**30, 2**31, 2**32 - 1], np.uint32)])
    expected = np.cos(2 * np.pi * phase.astype(float) / 2**32)
    np.testing.assert_allclose(cosine(jnp.asarray(phase)), expected, rtol=0, atol=2e-7)
