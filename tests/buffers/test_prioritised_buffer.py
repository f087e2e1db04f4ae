"""Prioritised replay: the windows of the uniform buffer, drawn by priorities that stay with them."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.buffers import Index, PrioritisedSequenceBuffer, importance_weights
from tests.buffers.counters import Sizes, legal_starts


@functools.cache
def compiled_fill(sizes: Sizes):
    """Adds `count` times; after each, samples and gives what was drawn random priorities."""

    @functools.partial(jax.jit, static_argnums=1)
    def fill(key, count):
        buffer = sizes.prioritised_buffer

        def body(state, inputs):
            index, key = inputs
            state = buffer.add(state, *sizes.addition(index))
            sample_key, priority_key = jax.random.split(key)
            batch = buffer.sample(sample_key, state)
            priority = jax.random.exponential(priority_key, batch.probability.shape)
            priorities = buffer.set_priorities(state.priorities, batch.index, priority)
            return state.replace(priorities=priorities), (buffer.can_sample(state), buffer.num_windows(state), batch)

        return jax.lax.scan(body, sizes.init(buffer), (jnp.arange(count), jax.random.split(key, count)))

    return fill


@pytest.mark.parametrize(
    ("num_envs", "num_steps", "capacity", "sequence_length", "burn_in", "has_carry", "num_carries"),
    [
        (1, 1, 5, 1, 0, False, 1),
        (2, 6, 60, 6, 2, True, 2),
        (2, 8, 70, 4, 3, True, 4),
        (3, 4, 60, 11, 3, True, 1),
        (3, 4, 60, 11, 3, False, 1),
    ],
)
def test_windows_are_consecutive_steps_of_one_environment(
    num_envs, num_steps, capacity, sequence_length, burn_in, has_carry, num_carries
):
    sizes = Sizes(num_envs, num_steps, capacity, sequence_length, burn_in, has_carry, num_carries)
    count = 2 * sizes.kept_steps // sizes.num_steps + 3
    _, (can_sample, num_windows, batches) = compiled_fill(sizes)(jax.random.key(0), count)
    batches = jax.tree.map(np.asarray, batches)
    assert batches.valid.all()
    for i in range(count):
        starts = legal_starts(sizes, i + 1)
        assert can_sample[i] == bool(starts)
        assert num_windows[i] == num_envs * len(starts)
        if not starts:
            continue
        time, env = batches.steps["time"][i], batches.steps["env"][i]
        assert np.isin(time[:, 0], starts).all()
        np.testing.assert_array_equal(np.diff(time, axis=1), 1)
        assert (env == env[:, :1]).all()
        slot = (time[:, 0] - 1) % sizes.kept_steps // sizes.stride
        num_slots = sizes.kept_steps // sizes.stride
        np.testing.assert_array_equal(batches.index.slot[i], (env[:, 0] - 1) * num_slots + slot)
        assert (batches.probability[i] > 0.0).all()
        if has_carry:
            np.testing.assert_array_equal(batches.carry["time"][i], time[:, 0] - 1)


def filled(sizes: Sizes, buffer: PrioritisedSequenceBuffer, additions: int):
    """A buffer after a number of additions, all priorities as they were given to new windows."""
    state = sizes.init(buffer)
    add = jax.jit(lambda state, i: buffer.add(state, *sizes.addition(i)))
    for i in range(additions):
        state = add(state, i)
    return state


def tenants(state) -> Index:
    """All slots, with those who live there."""
    num_envs, num_slots = state.priorities.table.shape
    return Index(jnp.arange(num_envs * num_slots), jnp.tile(state.priorities.generation, num_envs))


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_windows_are_drawn_in_proportion_to_their_priority_to_the_exponent(exponent):
    sizes = Sizes(3, 4, 84, 5, 1, has_carry=True)  # 7 slots for each environment
    buffer = PrioritisedSequenceBuffer(sizes.capacity, 5, 64, 1, priority_exponent=exponent)
    state = filled(sizes, buffer, additions=9)  # wraps around
    priority = np.random.default_rng(0).exponential(size=(3, 7))
    priorities = buffer.set_priorities(state.priorities, tenants(state), jnp.asarray(priority.ravel(), jnp.float32))
    state = state.replace(priorities=priorities)
    keys = jax.random.split(jax.random.key(1), 500)
    batch = jax.jit(jax.vmap(buffer.sample, in_axes=(0, None)))(keys, state)

    starts = np.array(legal_starts(sizes, 9))
    slots = (starts - 1) % sizes.kept_steps // sizes.stride
    weights = (priority**exponent)[:, slots]
    expected = weights / weights.sum()
    env = np.asarray(batch.steps["env"])[:, :, 0].ravel() - 1
    start = np.searchsorted(starts, np.asarray(batch.steps["time"])[:, :, 0].ravel())
    np.testing.assert_allclose(np.ravel(batch.probability), expected[env, start], rtol=1e-5)
    counts = np.zeros_like(expected)
    np.add.at(counts, (env, start), 1)
    expected = expected * counts.sum()
    degrees = counts.size - 1
    chi_square = np.sum((counts - expected) ** 2 / expected)
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)


def test_probabilities_count_the_windows_there_are():
    """Of 1000 places three are taken: priorities 1, 1, 2 are drawn with 1/4, 1/4, 1/2."""
    sizes = Sizes(1, 1, 1_000, 1, 0, has_carry=False)
    buffer = PrioritisedSequenceBuffer(1_000, 1, 64, priority_exponent=1.0)
    state = filled(sizes, buffer, additions=4)
    index = Index(jnp.arange(3), jnp.ones((3,), jnp.uint32))
    priorities = buffer.set_priorities(state.priorities, index, jnp.array([1.0, 1.0, 2.0]))
    batch = buffer.sample(jax.random.key(0), state.replace(priorities=priorities))
    slot = np.asarray(batch.index.slot)
    assert set(slot) == {0, 1, 2}
    np.testing.assert_allclose(batch.probability, np.array([0.25, 0.25, 0.5])[slot], rtol=1e-6)
    weights = importance_weights(batch.probability, buffer.num_windows(state), 1.0)
    np.testing.assert_allclose(weights, np.array([1.0, 1.0, 0.5])[slot], rtol=1e-6)


def test_equal_priorities_are_uniform_replay():
    sizes = Sizes(2, 3, 24, 3, 1, has_carry=True)
    state = filled(sizes, sizes.prioritised_buffer, additions=6)
    batch = sizes.prioritised_buffer.sample(jax.random.key(0), state)
    num_windows = sizes.prioritised_buffer.num_windows(state)
    np.testing.assert_allclose(batch.probability, 1 / num_windows, rtol=1e-6)
    np.testing.assert_array_equal(importance_weights(batch.probability, num_windows, 0.4), 1.0)


def test_new_windows_have_the_greatest_priority_so_far():
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    buffer = sizes.prioritised_buffer  # an exponent of 1/2
    state = filled(sizes, buffer, additions=2)
    np.testing.assert_array_equal(state.priorities.table[:, :2], 1.0)
    index = Index(jnp.array([0]), jnp.array([1], jnp.uint32))
    for priority in (16.0, 4.0, jnp.nan):
        state = state.replace(priorities=buffer.set_priorities(state.priorities, index, jnp.array([priority])))
    np.testing.assert_array_equal(state.priorities.table[0, :2], [2.0, 1.0])
    assert state.priorities.largest == 4.0
    state = buffer.add(state, *sizes.addition(2))
    np.testing.assert_array_equal(state.priorities.table[:, 2], 4.0)


def test_a_priority_never_reaches_the_next_tenant():
    """Draw from a full ring, add over what was drawn, and only then write."""
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    buffer = sizes.prioritised_buffer
    state = filled(sizes, buffer, additions=4)
    batch = buffer.sample(jax.random.key(0), state)
    overwritten = np.asarray(batch.steps["time"][:, 0]) == 1
    assert overwritten.any() and not overwritten.all()
    state = buffer.add(state, *sizes.addition(4))
    priorities = buffer.set_priorities(state.priorities, batch.index, jnp.full((24,), 1e6))
    np.testing.assert_array_equal(priorities.table[:, 0], 1.0)
    expected = np.ones((2, 4))
    expected.ravel()[np.asarray(batch.index.slot)[~overwritten]] = 1e3
    np.testing.assert_array_equal(priorities.table, expected)


def test_no_window_is_out_of_reach_for_good():
    sizes = Sizes(1, 3, 12, 3, 0, has_carry=True)
    buffer = sizes.prioritised_buffer
    state = filled(sizes, buffer, additions=4)
    state = state.replace(priorities=buffer.set_priorities(state.priorities, tenants(state), jnp.zeros((4,))))
    batch = buffer.sample(jax.random.key(0), state)
    np.testing.assert_allclose(batch.probability, 1 / 3, rtol=1e-6)


def test_seeds_are_mapped_over():
    """`vmap` over seeds equals one seed after the other, though their buffers are filled differently."""
    sizes = Sizes(2, 3, 24, 3, 1, has_carry=True)
    buffer = sizes.prioritised_buffer
    full, _ = compiled_fill(sizes)(jax.random.key(0), 7)
    begun, _ = compiled_fill(sizes)(jax.random.key(0), 3)
    states = jax.tree.map(lambda *x: jnp.stack(x), full, begun)
    steps, carry = sizes.addition(7)
    keys = jax.random.split(jax.random.key(1))

    @jax.jit
    def go_on(key, state):
        state = buffer.add(state, steps, carry)
        batch = buffer.sample(key, state)
        return state, batch, buffer.set_priorities(state.priorities, batch.index, 2.0 + batch.probability)

    together = jax.jit(jax.vmap(go_on))(keys, states)
    for i, state in enumerate((full, begun)):
        alone = go_on(keys[i], state)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b), together, alone)  # noqa: B023


@pytest.mark.parametrize("num_seeds", [None, 2])
def test_a_round_of_updates_copies_no_storage(num_seeds):
    """Adding, and updates under a condition that carry the priorities only, leave a donated buffer in its place."""
    sizes = Sizes(4, 4, 40_000, 4, 0, has_carry=True, num_carries=2)
    buffer = sizes.prioritised_buffer

    def round_of_updates(key, state, steps, carry):
        state = buffer.add(state, steps, carry)

        def update(priorities, key):
            batch = buffer.sample(key, state.replace(priorities=priorities))
            priority = jnp.abs(batch.steps["vector"]).sum(axis=(1, 2)) + jnp.abs(batch.carry["vector"]).sum(axis=1)
            return buffer.set_priorities(priorities, batch.index, priority), None

        def learn(priorities):
            return jax.lax.scan(update, priorities, jax.random.split(key, 3))[0]

        priorities = jax.lax.cond(buffer.can_sample(state), learn, lambda priorities: priorities, state.priorities)
        return state.replace(priorities=priorities)

    shapes = (jax.eval_shape(lambda: sizes.init(buffer)), *jax.eval_shape(sizes.addition, 0))
    shapes = (jax.eval_shape(lambda: jax.random.key(0)), *shapes)
    if num_seeds is not None:
        round_of_updates = jax.vmap(round_of_updates)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), shapes)
    memory = jax.jit(round_of_updates, donate_argnums=1).lower(*shapes).compile().memory_analysis()
    storage = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes[1].storage))
    table = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes[1].priorities))
    assert memory.alias_size_in_bytes >= storage
    assert memory.temp_size_in_bytes < 0.02 * storage + 8 * table


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("priority_exponent", 1.5, r"priority_exponent \(1.5\) must lie between 0 and 1"),
        ("priority_exponent", -0.1, r"priority_exponent \(-0.1\) must lie between 0 and 1"),
        ("minimum_priority", 0.0, r"minimum_priority \(0.0\) must be greater than 0"),
        ("batch_size", 0, r"batch_size \(0\) must be greater than 0"),
    ],
)
def test_impossible_settings_are_refused(field, value, message):
    settings = {"capacity": 100, "sequence_length": 4, "batch_size": 8}
    with pytest.raises(ValueError, match=message):
        PrioritisedSequenceBuffer(**{**settings, field: value})


def test_a_capacity_below_one_window_is_refused():
    sizes = Sizes(8, 8, 64, 8, 4, has_carry=True)
    with pytest.raises(ValueError, match=r"capacity \(64\) keeps 8 steps of each of 8 environments"):
        sizes.init(sizes.prioritised_buffer)
