"""Draws from a table of weights, and the numbers of prioritised replay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.buffers import Index, importance_weights, sequence_priority
from memorax.buffers.priorities import draw, init_priorities, renew, set_weights


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 7), (40, 25)])
def test_entries_are_drawn_in_proportion_to_their_weights(shape):
    weights = np.random.default_rng(0).exponential(size=shape).astype(np.float32)
    weights[np.random.default_rng(1).random(shape) < 0.3] = 0.0
    weights[0, 0] = 2.0
    drawn, probability = jax.jit(draw, static_argnums=2)(jax.random.key(0), weights, 100_000)
    expected = weights.ravel().astype(np.float64) / weights.astype(np.float64).sum()
    np.testing.assert_allclose(probability, expected[drawn], rtol=1e-5)
    counts = np.bincount(drawn, minlength=weights.size)
    assert (counts[expected == 0.0] == 0).all()
    degrees = (expected > 0.0).sum() - 1
    possible = expected > 0.0
    chi_square = np.sum((counts - expected * 100_000)[possible] ** 2 / (expected[possible] * 100_000))
    assert abs(chi_square - degrees) <= 4 * np.sqrt(2 * degrees)


def test_weights_of_any_magnitude_never_lead_to_an_entry_of_weight_zero():
    """Sums of such weights are rounded, so that cumulative sums need not even increase."""
    random = np.random.default_rng(0)
    weights = (10.0 ** random.uniform(-8, 8, (20, 2_000))).astype(np.float32)
    weights[random.random(weights.shape) < 0.5] = 0.0
    drawn, probability = jax.jit(jax.vmap(draw, in_axes=(0, 0, None)), static_argnums=2)(
        jax.random.split(jax.random.key(0), 20), weights, 5_000
    )
    assert (np.take_along_axis(weights, np.asarray(drawn), axis=1) > 0.0).all()
    assert (probability > 0.0).all()


def test_the_last_entry_is_found_however_small():
    weights = jnp.zeros((3, 100)).at[2, 99].set(1e-30)
    drawn, probability = draw(jax.random.key(0), weights, 1_000)
    assert (drawn == 299).all()
    assert (probability == 1.0).all()


def test_sums_of_great_weights_do_not_overflow():
    _, probability = draw(jax.random.key(0), jnp.full((2, 5), 3e38), 100)
    np.testing.assert_allclose(probability, 0.1, rtol=1e-6)


def test_a_draw_from_nothing_has_probability_zero():
    drawn, probability = draw(jax.random.key(0), jnp.zeros((2, 5)), 100)
    assert ((drawn >= 0) & (drawn < 10)).all()
    assert (probability == 0.0).all()


def index_of(priorities, slots) -> Index:
    """The present tenants of slots, in the first environment."""
    slots = jnp.asarray(slots)
    return Index(slots, priorities.generation[slots])


def test_a_weight_that_is_not_finite_is_not_written():
    priorities = renew(init_priorities(1, 4), jnp.arange(4))
    weights = jnp.array([jnp.nan, 3.0, jnp.inf, -jnp.inf])
    priorities = set_weights(priorities, index_of(priorities, [0, 1, 2, 3]), weights)
    np.testing.assert_array_equal(priorities.table, [[1.0, 3.0, 1.0, 1.0]])
    assert priorities.largest == 3.0


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_slot_drawn_several_times_is_written_once(order):
    """The greatest of its weights counts, in whichever order they come, also where it is smaller than the old one."""
    priorities = renew(init_priorities(1, 3), jnp.arange(3))
    slots, weights = np.array([1, 1, 2, 1])[order], np.array([0.2, 0.5, 7.0, np.nan])[order]
    priorities = set_weights(priorities, index_of(priorities, slots), jnp.asarray(weights))
    np.testing.assert_array_equal(priorities.table, np.float32([[1.0, 0.5, 7.0]]))


def test_a_weight_never_reaches_the_next_tenant():
    priorities = renew(init_priorities(2, 4), jnp.arange(4))
    drawn = Index(jnp.array([1, 6]), priorities.generation[jnp.array([1, 2])])
    priorities = set_weights(renew(priorities, jnp.array([0, 1])), drawn, jnp.array([1e6, 5.0]))
    np.testing.assert_array_equal(priorities.table, [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 5.0, 1.0]])
    assert priorities.largest == 5.0
    assert renew(priorities, jnp.array([3])).table[0, 3] == 5.0


def test_priorities_stay_exact_over_many_updates():
    """Each update overwrites: the table is that of a dictionary, bit for bit, and sums are those of float64.

    Weights span 18 magnitudes, so that differences added to a running float32 sum would be lost at once. As nothing is
    carried from one update to the next but the table itself, more updates than these cannot make it worse.
    """
    num_updates, size, batch_size = 25_000, 60, 8
    random = np.random.default_rng(0)
    slots = random.integers(0, size, (num_updates, batch_size))
    weights = (10.0 ** random.uniform(-9, 9, slots.shape)).astype(np.float32)
    priorities = renew(init_priorities(3, 20), jnp.arange(20))

    def update(priorities, inputs):
        slot, weight = inputs
        return set_weights(priorities, Index(slot, jnp.ones_like(slot, jnp.uint32)), weight), None

    priorities, _ = jax.jit(lambda p, x: jax.lax.scan(update, p, x))(priorities, (slots, weights))
    expected = np.ones(size, np.float32)
    for slot, weight in zip(slots, weights, strict=True):
        expected[slot] = 0.0
        np.maximum.at(expected, slot, weight)
    np.testing.assert_array_equal(priorities.table.ravel(), expected)
    drawn, probability = draw(jax.random.key(0), priorities.table, 1_000)
    exact = expected.astype(np.float64) / expected.astype(np.float64).sum()
    np.testing.assert_allclose(probability, exact[drawn], rtol=1e-6)


def test_importance_weights():
    """Schaul et al. (2016), Sec. 3.4, by hand: (3 * 1/4)^-1 = 4/3 and (3 * 1/2)^-1 = 2/3, over the greatest, 4/3."""
    probability = jnp.array([0.25, 0.25, 0.5])
    np.testing.assert_allclose(importance_weights(probability, 3, 1.0), [1.0, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(importance_weights(probability, 3, 0.5), [1.0, 1.0, np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(importance_weights(probability, 3, 0.0), 1.0)
    np.testing.assert_array_equal(importance_weights(probability[2:], 3, 1.0), 1.0)
    np.testing.assert_array_equal(importance_weights(jnp.full((5,), 1 / 7), 7, 0.4), 1.0)


def test_sequence_priority():
    """0.9 * 5 + 0.1 * (1 + 2 + 5) / 3, whatever the step without a loss holds."""
    mask = jnp.array([[True, True, True, False]])
    for masked in (100.0, 0.0, jnp.nan, jnp.inf):
        errors = jnp.array([[1.0, 2.0, 5.0, masked]])
        np.testing.assert_allclose(sequence_priority(errors, mask, 0.9), [4.7666667], rtol=1e-6)
    np.testing.assert_array_equal(sequence_priority(errors, jnp.zeros_like(mask), 0.9), [0.0])
    np.testing.assert_allclose(sequence_priority(errors, mask, 1.0), [5.0], rtol=1e-6)
    np.testing.assert_allclose(sequence_priority(errors, mask, 0.0), [8 / 3], rtol=1e-6)
