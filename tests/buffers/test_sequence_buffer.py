"""Windows of strictly increasing counters: what comes back says where it was written."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from memorax.buffers import SequenceBuffer


@dataclass(frozen=True)
class Sizes:
    num_envs: int
    num_steps: int
    capacity: int
    sequence_length: int
    burn_in: int
    has_carry: bool

    @property
    def buffer(self) -> SequenceBuffer:
        return SequenceBuffer(self.capacity, self.sequence_length, batch_size=64, burn_in=self.burn_in)

    @property
    def kept_steps(self) -> int:
        return math.ceil(self.capacity / (self.num_envs * self.num_steps)) * self.num_steps

    @property
    def stride(self) -> int:
        return self.num_steps if self.has_carry else 1

    def addition(self, index) -> tuple[dict, dict]:
        """The `index`-th steps to be added, counted from 1 in every environment, and the count before them."""
        before = jnp.broadcast_to(index * self.num_steps, (self.num_envs,))
        time = before[:, None] + 1 + jnp.arange(self.num_steps)[None]
        env = jnp.broadcast_to(jnp.arange(self.num_envs)[:, None] + 1, time.shape)
        steps = {"time": time, "env": env, "vector": jnp.stack([time, env, time], axis=-1).astype(jnp.float32)}
        carry = {"time": before, "vector": jnp.stack([before, before], axis=-1).astype(jnp.float32)}
        return steps, carry if self.has_carry else {}

    def init(self):
        steps, carry = jax.eval_shape(self.addition, 0)
        step = jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0], *x.shape[2:]), x.dtype), steps)
        return self.buffer.init(step, carry, self.num_steps)


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


def legal_starts(sizes: Sizes, additions: int) -> list[int]:
    """The counts a window may start with after `additions`, by enumeration."""
    newest = additions * sizes.num_steps
    oldest = max(newest - sizes.kept_steps, 0) + 1
    window = sizes.burn_in + sizes.sequence_length + 1
    return [t for t in range(oldest, newest - window + 2) if (t - 1) % sizes.stride == 0]


def check_samples(sizes: Sizes, seed: int) -> None:
    count = 2 * sizes.kept_steps // sizes.num_steps + 3
    _, (can_sample, batches) = compiled_fill(sizes)(jax.random.key(seed), count)
    steps, carries = jax.tree.map(np.asarray, batches)
    for i in range(count):
        starts = legal_starts(sizes, i + 1)
        assert can_sample[i] == bool(starts)
        if not starts:
            continue
        time, env = steps["time"][i], steps["env"][i]
        assert time.shape == (64, sizes.burn_in + sizes.sequence_length + 1)
        assert np.isin(time[:, 0], starts).all()
        np.testing.assert_array_equal(np.diff(time, axis=1), 1)
        assert (env == env[:, :1]).all()
        assert ((env >= 1) & (env <= sizes.num_envs)).all()
        np.testing.assert_array_equal(steps["vector"][i], np.stack([time, env, time], axis=-1))
        if sizes.has_carry:
            np.testing.assert_array_equal(carries["time"][i], time[:, 0] - 1)
            np.testing.assert_array_equal(carries["vector"][i], np.stack([time[:, 0] - 1] * 2, axis=-1))


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
    burn_in = data.draw(st.integers(0, 4), label="burn_in")
    least = num_envs * (burn_in + sequence_length + 1)
    capacity = data.draw(st.integers(least, 3 * least), label="capacity")
    check_samples(Sizes(num_envs, num_steps, capacity, sequence_length, burn_in, has_carry), seed=1)


def test_a_memoryless_window_may_be_shorter_than_an_addition():
    check_samples(Sizes(2, 8, 48, 2, 0, has_carry=False), seed=2)


@pytest.mark.parametrize("has_carry", [True, False])
@pytest.mark.parametrize("additions", [4, 11])
def test_starts_are_drawn_uniformly(has_carry, additions):
    sizes = Sizes(3, 4, 84, 5, 1, has_carry)  # 7 chunks of each environment: 11 additions wrap around
    state, _ = compiled_fill(sizes)(jax.random.key(0), additions)
    buffer = SequenceBuffer(sizes.capacity, sizes.sequence_length, batch_size=20_000, burn_in=sizes.burn_in)
    steps, _ = jax.jit(buffer.sample)(jax.random.key(1), state)
    starts = legal_starts(sizes, additions)
    cells = np.stack([np.asarray(steps["env"][:, 0]) - 1, np.searchsorted(starts, steps["time"][:, 0])])
    counts = np.bincount(np.ravel_multi_index(cells, (sizes.num_envs, len(starts))), minlength=3 * len(starts))
    expected = 20_000 / counts.size
    degrees = counts.size - 1
    chi_square = np.sum((counts - expected) ** 2 / expected)
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)


def test_nothing_can_be_sampled_from_an_empty_buffer():
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    state = sizes.init()
    assert not sizes.buffer.can_sample(state)
    steps, carry = jax.jit(sizes.buffer.sample)(jax.random.key(0), state)
    assert steps["vector"].shape == (64, 4, 3)
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
    steps = jax.tree.map(lambda x: jnp.stack([x, x], axis=1), step)

    @jax.eval_shape
    def batch():
        state = buffer.add(buffer.init(step, carry, num_steps=2), steps, carry)
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
@pytest.mark.parametrize("in_scan", [False, True])
def test_a_donated_buffer_is_written_in_place(num_seeds, in_scan):
    """The compiled program reuses the buffer's memory and needs next to none beside it."""
    sizes = Sizes(4, 4, 40_000, 4, 0, has_carry=True)
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
    message = r"sequence_length \(4\) must be at least the number of steps added at a time \(16\)"
    with pytest.raises(ValueError, match=message):
        Sizes(2, 16, 640, 4, 0, has_carry=True).init()
    Sizes(2, 16, 640, 4, 0, has_carry=False).init()


def test_an_addition_of_another_length_is_refused():
    sizes = Sizes(2, 3, 24, 3, 0, has_carry=True)
    with pytest.raises(ValueError, match=r"steps \(6 per environment\) must be as many as the buffer was made for, 3"):
        sizes.buffer.add(sizes.init(), *Sizes(2, 6, 24, 3, 0, has_carry=True).addition(0))
