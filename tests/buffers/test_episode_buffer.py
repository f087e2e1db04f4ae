"""Windows of one episode each, of strictly increasing counters: what comes back says where it was written."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from memorax.buffers import EpisodeBuffer, Index, PrioritisedEpisodeBuffer


@dataclass(frozen=True, eq=False)
class Episodes:
    """Steps that count the time in each environment and the episodes, whose starts are drawn at random."""

    num_envs: int
    num_steps: int
    capacity: int
    sequence_length: int
    burn_in: int
    num_carries: int | None = 1
    mean_length: float = 4.0
    num_additions: int = 24
    starts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.num_envs, self.num_additions * self.num_steps)
        starts = np.random.default_rng(0).random(shape) < 1 / self.mean_length
        starts[:, 0] = True
        object.__setattr__(self, "starts", starts)

    @property
    def buffer(self) -> EpisodeBuffer:
        batch_size = min(self.capacity, 32)
        return EpisodeBuffer(self.capacity, self.sequence_length, batch_size, self.burn_in, episode_starts=is_first)

    @property
    def period(self) -> int:
        return self.num_steps // (self.num_carries or 1)

    @property
    def stride(self) -> int:
        return self.period if self.num_carries else 1

    @property
    def kept_steps(self) -> int:
        return math.ceil(self.capacity / (self.num_envs * self.period)) * self.period

    def additions(self) -> tuple[dict, dict]:
        """All steps and carries, one addition after the other along the first axis."""
        time = np.broadcast_to(np.arange(self.starts.shape[1]), self.starts.shape)
        env = np.broadcast_to(np.arange(self.num_envs)[:, None], time.shape)
        steps = {"time": time, "env": env, "episode": np.cumsum(self.starts, axis=1), "first": self.starts}
        carries = {"time": time[:, :: self.period]} if self.num_carries else {}

        def by_addition(x):
            return jnp.asarray(np.moveaxis(x.reshape(self.num_envs, self.num_additions, -1), 1, 0))

        return jax.tree.map(by_addition, (steps, carries))

    def init(self, buffer=None):
        steps, carries = self.additions()
        step, carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct((self.num_envs,), x.dtype), (steps, carries))
        return (buffer or self.buffer).init(step, carry, self.num_steps, self.period)

    def legal_starts(self, env: int, count: int) -> list[int]:
        """Times from which a window may learn after `count` steps, by enumeration."""
        newest, oldest = count - 1, max(count - self.kept_steps, 0)
        firsts = [t for t in range(count) if self.starts[env, t]]
        found = []
        for i, first in enumerate(firsts):
            end = firsts[i + 1] - 1 if i + 1 < len(firsts) else None  # last step, where it is known
            last = newest if end is None else end
            starts = [first]
            if last >= first + self.sequence_length:
                later = range(max(first, first + self.sequence_length - self.stride) + 1, last + 1)
                starts += [t for t in later if (t - self.burn_in) % self.stride == 0]
            for start in starts:
                complete = start + self.sequence_length <= newest or end not in (None, newest)
                if complete and start - min(self.burn_in, start - first) >= oldest:
                    found.append(start)
        return sorted(found)


def is_first(steps) -> jax.Array:
    return steps["first"]


@functools.cache
def fill(sizes: Episodes, buffer=None):
    """What is legal, and a sample, after each addition."""
    buffer = buffer or sizes.buffer

    def body(state, inputs):
        key, (steps, carries) = inputs
        state = buffer.add(state, steps, carries)
        legal = getattr(buffer, "windows", buffer).legal(state)
        return state, (legal, buffer.can_sample(state), buffer.num_windows(state), buffer.sample(key, state))

    keys = jax.random.split(jax.random.key(0), sizes.num_additions)
    state, outputs = jax.jit(lambda state, x: jax.lax.scan(body, state, x))(
        sizes.init(buffer), (keys, sizes.additions())
    )
    return state, jax.tree.map(np.asarray, outputs)


def check_window(sizes: Episodes, steps, carry, valid, starts: list[list[int]]) -> set[tuple[int, int]]:
    """Check one window; returns the steps that are learned from in it, as pairs of environment and time."""
    env = steps["env"][0]
    assert (steps["env"] == env).all()
    time, own = steps["time"], np.flatnonzero(valid)
    np.testing.assert_array_equal(own, np.arange(own[0], own[-1] + 1))
    np.testing.assert_array_equal(np.diff(time[own]), 1)
    assert len(set(steps["episode"][own])) == 1
    start = time[max(own[0], sizes.burn_in)]
    assert start in starts[env]
    assert valid[sizes.burn_in]
    # In front of an episode its first timestep is repeated: the carry is reset, and nothing is burnt in.
    assert (time[: own[0]] == time[own[0]]).all()
    if own[0] > 0 or steps["first"][own[0]]:
        assert steps["first"][: own[0] + 1].all()
    elif sizes.num_carries:
        assert carry["time"] == time[0]
    # Behind it, the first timestep of the next one.
    behind = slice(own[-1] + 1, None)
    assert (time[behind] == time[own[-1]] + 1).all()
    assert steps["first"][behind].all()
    assert own[-1] == len(valid) - 1 or sizes.starts[env, time[own[-1]] + 1]
    learned = own[(own >= sizes.burn_in) & (own < len(valid) - 1)]
    return {(int(env), int(t)) for t in time[learned]}


def check(sizes: Episodes, buffer=None) -> None:
    _, (legal, can_sample, num_windows, batches) = fill(sizes, buffer)
    for i in range(sizes.num_additions):
        count = (i + 1) * sizes.num_steps
        starts = [sizes.legal_starts(env, count) for env in range(sizes.num_envs)]
        expected = np.zeros((sizes.num_envs, sizes.kept_steps), bool)
        for env, times in enumerate(starts):
            expected[env, np.array(times, int) % sizes.kept_steps] = True
        np.testing.assert_array_equal(legal[i], expected)
        assert can_sample[i] == expected.any()
        assert num_windows[i] == expected.sum()
        if not expected.any():
            continue
        np.testing.assert_allclose(batches.probability[i], 1 / expected.sum(), rtol=1e-6)
        for j in range(len(batches.valid[i])):
            steps, carry = jax.tree.map(lambda x: x[i, j], (batches.steps, batches.carry))  # noqa: B023
            check_window(sizes, steps, carry, batches.valid[i, j], starts)


SIZES = [
    Episodes(1, 1, 12, 3, 0, None),
    Episodes(2, 4, 60, 5, 2, None),
    Episodes(2, 4, 60, 5, 2),
    Episodes(2, 6, 90, 3, 3, num_carries=2),
    Episodes(3, 4, 48, 4, 4, mean_length=9.0),  # most episodes are too long for a window
    Episodes(1, 8, 16, 8, 6, mean_length=20.0),
    Episodes(2, 4, 80, 16, 0, mean_length=3.0),  # all are whole
    Episodes(1, 8, 8, 4, 3, num_carries=2, mean_length=6.0),  # every addition overwrites everything
]


@pytest.mark.parametrize("sizes", SIZES)
def test_windows_hold_one_episode(sizes):
    check(sizes)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(data=st.data())
def test_windows_of_any_sizes(data):
    num_steps = data.draw(st.integers(1, 6), label="num_steps")
    num_carries = data.draw(st.sampled_from([c for c in (None, 1, 2) if num_steps % (c or 1) == 0]))
    period = num_steps // (num_carries or 1)
    sequence_length = data.draw(st.integers(period, 9), label="sequence_length")
    burn_in = data.draw(st.integers(0, sequence_length), label="burn_in")
    num_envs = data.draw(st.integers(1, 3), label="num_envs")
    least = num_envs * max(burn_in + sequence_length + 1, num_steps)
    capacity = data.draw(st.integers(least, 3 * least), label="capacity")
    mean_length = data.draw(st.sampled_from([1.2, 3.0, 10.0]), label="mean_length")
    check(Episodes(num_envs, num_steps, capacity, sequence_length, burn_in, num_carries, mean_length))


@pytest.mark.parametrize("sizes", SIZES[1:7])
def test_every_step_is_learned_from(sizes):
    """Every step of an episode whose start is kept is neither burn-in nor last in some window, once what follows it
    is there: the end of the episode, or `sequence_length` steps.
    """
    state, _ = fill(sizes)
    count = sizes.num_additions * sizes.num_steps
    legal = np.asarray(sizes.buffer.legal(state))
    env, slot = map(jnp.asarray, np.nonzero(legal))
    windows = jax.tree.map(np.asarray, jax.jit(sizes.buffer.read)(state, env, slot))
    starts = [sizes.legal_starts(env, count) for env in range(sizes.num_envs)]
    learned = set()
    for j in range(legal.sum()):
        learned |= check_window(sizes, *jax.tree.map(lambda x: x[j], windows), starts)  # noqa: B023
    for env in range(sizes.num_envs):
        firsts = np.flatnonzero(sizes.starts[env])
        for first in firsts[firsts >= count - sizes.kept_steps]:
            following = firsts[firsts > first]
            end = following[0] if len(following) else count - sizes.sequence_length
            assert learned >= {(env, t) for t in range(first, end)}


def test_no_step_of_short_episodes_is_lost_to_a_long_burn_in():
    """Episodes of 5 steps and a burn-in of 40: all 5 are learned from, and nothing is burnt in."""
    sizes = Episodes(1, 5, 400, 40, 40, num_carries=1, num_additions=2)
    sizes.starts[:] = np.arange(sizes.starts.shape[1]) % 5 == 0
    _, (_, _, num_windows, batches) = fill(sizes)
    assert num_windows[1] == 1
    np.testing.assert_array_equal(batches.steps["time"][1, 0], [0] * 41 + [1, 2, 3, 4] + [5] * 36)
    np.testing.assert_array_equal(batches.valid[1, 0], [False] * 40 + [True] * 5 + [False] * 36)


def test_an_addition_that_fills_the_ring_keeps_nothing_of_the_one_before():
    """A second window that would start before the addition does not end up in it."""
    sizes = Episodes(1, 8, 8, 4, 2, num_carries=2, num_additions=2)
    sizes.starts[:] = np.isin(np.arange(16), [0, 4, 13, 15])[None]
    check(sizes)


def test_an_episode_that_still_runs_is_not_drawn():
    sizes = Episodes(1, 2, 40, 6, 0)
    sizes.starts[:] = np.arange(sizes.starts.shape[1]) % 4 == 0
    _, (_, _, num_windows, _) = fill(sizes)
    np.testing.assert_array_equal(num_windows[:6], [0, 0, 1, 1, 2, 2])


def test_priorities_decide_between_episodes():
    sizes = Episodes(2, 4, 60, 5, 2, num_carries=2)
    buffer = PrioritisedEpisodeBuffer(60, 5, 32, 2, priority_exponent=0.5, episode_starts=is_first)
    state, (legal, _, _, _) = fill(sizes, buffer)
    priority = jnp.asarray(np.random.default_rng(1).exponential(size=legal[-1].shape), jnp.float32)
    tenants = jnp.tile(state.priorities.generation, sizes.num_envs)
    index = Index(jnp.arange(priority.size), tenants)
    priorities = buffer.set_priorities(state.priorities, index, priority.ravel())
    state = state.replace(priorities=priorities)
    keys = jax.random.split(jax.random.key(1), 300)
    batch = jax.jit(jax.vmap(buffer.sample, in_axes=(0, None)))(keys, state)
    weights = np.where(legal[-1], np.sqrt(np.asarray(priority)), 0.0).ravel()
    counts = np.bincount(np.ravel(batch.index.slot), minlength=weights.size)
    expected = weights / weights.sum() * counts.sum()
    assert (counts[weights == 0.0] == 0).all()
    possible = weights > 0.0
    degrees = possible.sum() - 1
    chi_square = np.sum((counts - expected)[possible] ** 2 / expected[possible])
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)
    env, slot = np.divmod(np.ravel(batch.index.slot), legal.shape[2])
    start = np.asarray(batch.steps["time"])[:, :, sizes.burn_in].ravel()
    np.testing.assert_array_equal(start % sizes.kept_steps, slot)
    np.testing.assert_array_equal(np.asarray(batch.steps["env"])[:, :, 0].ravel(), env)


def test_seeds_are_mapped_over():
    sizes = Episodes(2, 4, 60, 5, 2)
    buffer = sizes.buffer
    steps, carries = sizes.additions()
    states = [sizes.init(), sizes.init()]
    add = jax.jit(buffer.add)
    for i in range(10):
        states[0] = add(states[0], *jax.tree.map(lambda x: x[i], (steps, carries)))  # noqa: B023
    for i in range(3):
        states[1] = add(states[1], *jax.tree.map(lambda x: x[i], (steps, carries)))  # noqa: B023
    keys = jax.random.split(jax.random.key(1))

    @jax.jit
    def go_on(key, state):
        state = buffer.add(state, *jax.tree.map(lambda x: x[10], (steps, carries)))
        return state, buffer.sample(key, state)

    together = jax.jit(jax.vmap(go_on))(keys, jax.tree.map(lambda *x: jnp.stack(x), *states))
    for i, state in enumerate(states):
        alone = go_on(keys[i], state)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b), together, alone)  # noqa: B023


@pytest.mark.parametrize("num_seeds", [None, 2])
def test_a_donated_buffer_is_written_in_place(num_seeds):
    buffer = EpisodeBuffer(40_000, 4, 8, episode_starts=is_first)
    step = {"image": jax.ShapeDtypeStruct((4, 16), jnp.uint8), "first": jax.ShapeDtypeStruct((4,), bool)}
    carry = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    state = jax.eval_shape(lambda: buffer.init(step, carry, 4, 2))
    steps = jax.tree.map(lambda x: jax.ShapeDtypeStruct((4, 4, *x.shape[1:]), x.dtype), step)
    shapes = (state, steps, jax.ShapeDtypeStruct((4, 2, 8), jnp.float32))
    add = buffer.add
    if num_seeds is not None:
        add = jax.vmap(add)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), shapes)
    memory = jax.jit(add, donate_argnums=0).lower(*shapes).compile().memory_analysis()
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes[0]))
    assert memory.alias_size_in_bytes == size
    assert memory.temp_size_in_bytes < 0.02 * size


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"capacity \(64\) keeps 8 steps of each of 8 environments"):
        Episodes(8, 8, 64, 8, 4).init()
    with pytest.raises(ValueError, match=r"sequence_length \(4\) must be at least the number of steps between"):
        Episodes(2, 8, 640, 4, 0).init()
    with pytest.raises(ValueError, match=r"burn_in \(5\) must not exceed sequence_length \(4\)"):
        PrioritisedEpisodeBuffer(640, 4, 8, burn_in=5)
