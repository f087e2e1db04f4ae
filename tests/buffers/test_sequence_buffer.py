"""Windows of strictly increasing counters: what comes back says where it was written."""

from __future__ import annotations

import functools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from memorax.buffers import SequenceBuffer
from tests.buffers.counters import Sizes, legal_starts


@functools.cache
def compiled_fill(sizes: Sizes):
    """Adds `count` times, sampling and asking after each."""

    @functools.partial(jax.jit, static_argnums=1)
    def fill(key, count):
        def body(state, inputs):
            index, key = inputs
            state = sizes.buffer.add(state, *sizes.addition(index))
            return state, (sizes.buffer.can_sample(state), sizes.buffer.sample(key, state))

        indices = jnp.arange(count)
        return jax.lax.scan(body, sizes.init(), (indices, jax.random.split(key, count)))

    return fill


def check_samples(sizes: Sizes, seed: int) -> None:
    count = 2 * sizes.kept_steps // sizes.num_steps + 3
    _, (can_sample, batches) = compiled_fill(sizes)(jax.random.key(seed), count)
    batches = jax.tree.map(np.asarray, batches)
    steps, carries = batches.steps, batches.carry
    assert batches.valid.all()
    for i in range(count):
        starts = legal_starts(sizes, i + 1)
        assert can_sample[i] == bool(starts)
        if not starts:
            continue
        time, env = steps["time"][i], steps["env"][i]
        assert time.shape == (min(sizes.capacity, 64), sizes.burn_in + sizes.sequence_length + 1)
        assert np.isin(time[:, 0], starts).all()
        np.testing.assert_array_equal(np.diff(time, axis=1), 1)
        assert (env == env[:, :1]).all()
        assert ((env >= 1) & (env <= sizes.num_envs)).all()
        np.testing.assert_array_equal(steps["vector"][i], np.stack([time, env, time], axis=-1))
        if sizes.has_carry:
            np.testing.assert_array_equal(carries["time"][i], time[:, 0] - 1)
            np.testing.assert_array_equal(carries["vector"][i], np.stack([time[:, 0] - 1] * 2, axis=-1))


@pytest.mark.parametrize(
    ("num_envs", "num_steps", "num_carries", "capacity", "sequence_length", "burn_in"),
    [
        (2, 6, 2, 60, 6, 0),  # neighbours overlap by half
        (2, 8, 4, 70, 4, 3),  # the ring is no multiple of what is added at a time
        (1, 4, 4, 12, 3, 1),
    ],
)
def test_windows_start_at_every_carry(num_envs, num_steps, num_carries, capacity, sequence_length, burn_in):
    check_samples(Sizes(num_envs, num_steps, capacity, sequence_length, burn_in, True, num_carries), seed=0)


@pytest.mark.parametrize("has_carry", [True, False])
@pytest.mark.parametrize(
    ("num_envs", "num_steps", "capacity", "sequence_length", "burn_in"),
    [
        (1, 1, 5, 1, 0),
        (1, 1, 3, 1, 1),
        (2, 3, 18, 3, 0),
        (2, 3, 25, 4, 2),  # capacity divides neither by chunks nor by windows
        (3, 4, 60, 11, 3),  # windows over several chunks
        (3, 4, 48, 15, 0),  # a window takes everything there is room for
        (4, 5, 100, 5, 0),
    ],
)
def test_windows_are_consecutive_steps_of_one_environment(
    num_envs, num_steps, capacity, sequence_length, burn_in, has_carry
):
    check_samples(Sizes(num_envs, num_steps, capacity, sequence_length, burn_in, has_carry), seed=0)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_windows_of_any_sizes(data):
    num_envs = data.draw(st.integers(1, 4), label="num_envs")
    num_steps = data.draw(st.integers(1, 6), label="num_steps")
    has_carry = data.draw(st.booleans(), label="has_carry")
    sequence_length = data.draw(st.integers(num_steps if has_carry else 1, 9), label="sequence_length")
    burn_in = data.draw(st.integers(0, min(sequence_length, 4)), label="burn_in")
    num_carries = data.draw(st.sampled_from([c for c in (1, 2, 3) if num_steps % c == 0]), label="num_carries")
    least = num_envs * max(burn_in + sequence_length + 1, num_steps)
    capacity = data.draw(st.integers(least, 3 * least), label="capacity")
    check_samples(Sizes(num_envs, num_steps, capacity, sequence_length, burn_in, has_carry, num_carries), seed=1)


def test_a_memoryless_window_may_be_shorter_than_an_addition():
    check_samples(Sizes(2, 8, 48, 2, 0, has_carry=False), seed=2)


@pytest.mark.parametrize("has_carry", [True, False])
@pytest.mark.parametrize("additions", [4, 11])
def test_starts_are_drawn_uniformly(has_carry, additions):
    sizes = Sizes(3, 4, 84, 5, 1, has_carry)  # 7 chunks of each environment: 11 additions wrap around
    state, _ = compiled_fill(sizes)(jax.random.key(0), additions)
    keys = jax.random.split(jax.random.key(1), 300)
    batch = jax.jit(jax.vmap(sizes.buffer.sample, in_axes=(0, None)))(keys, state)
    first_steps = jax.tree.map(lambda x: np.asarray(x[:, :, 0]).reshape(-1, *x.shape[3:]), batch.steps)
    starts = legal_starts(sizes, additions)
    cells = np.stack([first_steps["env"] - 1, np.searchsorted(starts, first_steps["time"])])
    counts = np.bincount(np.ravel_multi_index(cells, (sizes.num_envs, len(starts))), minlength=3 * len(starts))
    assert sizes.buffer.num_windows(state) == counts.size
    np.testing.assert_allclose(batch.probability, 1 / counts.size, rtol=1e-6)
    np.testing.assert_array_equal(sizes.buffer.legal(state).sum(axis=1), len(starts))
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    chi_square = np.sum((counts - expected) ** 2 / expected)
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)


def test_nothing_can_be_sampled_from_an_empty_buffer():
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    state = sizes.init()
    assert not sizes.buffer.can_sample(state)
    batch = jax.jit(sizes.buffer.sample)(jax.random.key(0), state)
    steps, carry = batch.steps, batch.carry
    assert steps["vector"].shape == (24, 4, 3)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((steps, carry)))


def test_every_step_is_learned_from():
    """With and without carries, each stored step is at some place of a window that is neither burn-in nor last."""
    for has_carry in (True, False):
        sizes = Sizes(1, 4, 40, 5, 2, has_carry)
        learned = set()
        for start in legal_starts(sizes, additions=10):
            learned |= set(range(start + sizes.burn_in, start + sizes.burn_in + sizes.sequence_length))
        assert learned >= set(range(1 + sizes.burn_in, 40 - sizes.num_steps))


def test_dtypes_are_kept():
    buffer = SequenceBuffer(capacity=8, sequence_length=2, batch_size=3)
    step = {"image": jnp.zeros((2, 5, 5, 3), jnp.uint8), "done": jnp.zeros((2,), bool)}
    carry = jnp.zeros((2, 4), jnp.bfloat16)
    carries = carry[:, None]
    steps = jax.tree.map(lambda x: jnp.stack([x, x], axis=1), step)

    @jax.eval_shape
    def batch():
        state = buffer.add(buffer.init(step, carry, num_steps=2), steps, carries)
        return buffer.sample(jax.random.key(0), state)

    assert (batch.steps["image"].shape, batch.steps["image"].dtype) == ((3, 3, 5, 5, 3), jnp.uint8)
    assert batch.steps["done"].dtype == bool
    assert (batch.carry.shape, batch.carry.dtype) == ((3, 4), jnp.bfloat16)


def test_seeds_are_mapped_over():
    """`vmap` over seeds equals one seed after the other, though their buffers are filled differently."""
    sizes = Sizes(2, 3, 24, 3, 1, has_carry=True)
    full, _ = compiled_fill(sizes)(jax.random.key(0), 7)
    begun, _ = compiled_fill(sizes)(jax.random.key(0), 3)
    states = jax.tree.map(lambda *x: jnp.stack(x), full, begun)
    steps, carry = sizes.addition(7)
    keys = jax.random.split(jax.random.key(1))

    @jax.jit
    def go_on(key, state):
        state = sizes.buffer.add(state, steps, carry)
        return state, sizes.buffer.sample(key, state)

    together = jax.jit(jax.vmap(go_on))(keys, states)
    for i, state in enumerate((full, begun)):
        alone = go_on(keys[i], state)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b), together, alone)  # noqa: B023


@pytest.mark.parametrize("num_seeds", [None, 2])
@pytest.mark.parametrize(("in_scan", "num_carries"), [(False, 1), (True, 1), (True, 2)])
def test_a_donated_buffer_is_written_in_place(num_seeds, in_scan, num_carries):
    """The compiled program reuses the buffer's memory and needs next to none beside it."""
    sizes = Sizes(4, 4, 40_000, 4, 0, has_carry=True, num_carries=num_carries)
    steps, carry = jax.eval_shape(sizes.addition, 0)
    shapes = (jax.eval_shape(sizes.init), steps, carry)

    def add(state, steps, carry):
        def again(state, _):
            return sizes.buffer.add(state, steps, carry), None

        return jax.lax.scan(again, state, None, length=3)[0] if in_scan else sizes.buffer.add(state, steps, carry)

    if num_seeds is not None:
        add = jax.vmap(add)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), shapes)
    memory = jax.jit(add, donate_argnums=0).lower(*shapes).compile().memory_analysis()
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes[0]))
    assert memory.alias_size_in_bytes == size
    assert memory.temp_size_in_bytes < 0.02 * size


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("capacity", 0, r"capacity \(0\) must be greater than 0"),
        ("sequence_length", -1, r"sequence_length \(-1\) must be greater than 0"),
        ("batch_size", 0, r"batch_size \(0\) must be greater than 0"),
        ("burn_in", -2, r"burn_in \(-2\) must not be negative"),
    ],
)
def test_impossible_sizes_are_refused(field, value, message):
    sizes = {"capacity": 100, "sequence_length": 4, "batch_size": 8, "burn_in": 0}
    with pytest.raises(ValueError, match=message):
        SequenceBuffer(**{**sizes, field: value})


def test_a_capacity_below_one_window_is_refused():
    message = r"capacity \(64\) keeps 8 steps of each of 8 environments, .* takes 13 .* it must be at least 128"
    with pytest.raises(ValueError, match=message):
        Sizes(8, 8, 64, 8, 4, has_carry=True).init()
    Sizes(8, 8, 128, 8, 4, has_carry=True).init()


def test_steps_no_window_would_reach_are_refused():
    message = r"sequence_length \(4\) must be at least the number of steps between two stored carries \(16\)"
    with pytest.raises(ValueError, match=message):
        Sizes(2, 16, 640, 4, 0, has_carry=True).init()
    Sizes(2, 16, 640, 4, 0, has_carry=False).init()
    Sizes(2, 16, 640, 4, 0, has_carry=True, num_carries=4).init()


@pytest.mark.parametrize(
    ("num_steps", "num_carries", "message"),
    [
        (4, 1, r"steps \(4 per environment\) must be a multiple of 3, .* no more than the 12 it keeps"),
        (15, 5, r"steps \(15 per environment\) must be a multiple of 3, .* no more than the 12 it keeps"),
        (6, 1, r"carries \(1 per environment\) must be one for every 3 of the 6 steps: 2"),
    ],
)
def test_an_addition_that_does_not_fit_is_refused(num_steps, num_carries, message):
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    with pytest.raises(ValueError, match=message):
        sizes.buffer.add(sizes.init(), *Sizes(2, num_steps, 24, 3, 0, True, num_carries).addition(0))


def test_sizes_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match=r"burn_in \(5\) must not exceed sequence_length \(4\)"):
        SequenceBuffer(capacity=100, sequence_length=4, batch_size=8, burn_in=5)
    with pytest.raises(ValueError, match=r"capacity \(100\) must be at least batch_size \(128\)"):
        SequenceBuffer(capacity=100, sequence_length=4, batch_size=128)
    step, carry = {"time": jnp.zeros((2,))}, jnp.zeros((2, 3))
    with pytest.raises(ValueError, match=r"period \(3\) must divide the number of steps added at a time \(8\)"):
        SequenceBuffer(capacity=100, sequence_length=4, batch_size=8).init(step, carry, num_steps=8, period=3)
    with pytest.raises(
        ValueError, match=r"capacity \(100\) must be at least 128, the steps added at a time: 64 of each of"
    ):
        SequenceBuffer(capacity=100, sequence_length=4, batch_size=8).init(step, carry, num_steps=64, period=4)
