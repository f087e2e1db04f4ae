"""The auto-reset: what `step` makes of `step_env` and `reset`, alone and in a batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from memorax.environments import Environment, make
from memorax.environments.environment import OptimisticVectorEnvironment, StepResult, VectorEnvironment
from memorax.environments.spaces import Box, Discrete, Space
from memorax.environments.wrappers import OptimisticResets
from memorax.environments.wrappers.transform import TransformedVectorEnvironment
from memorax.types import Array, Key, PyTree


@struct.dataclass
class CounterState:
    """A number drawn at the reset, and what has been added to it since."""

    start: Array
    steps: Array
    total: Array


class Counter(Environment):
    """Counts steps; action 1 ends the episode by a failure that leaves NaN behind, the third step by a time limit."""

    def reset(self, key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        start = jax.random.uniform(key)
        state = CounterState(start=start, steps=jnp.zeros((), jnp.int32), total=jnp.zeros(()))
        return self.observe(state), state

    def step_env(self, key: Key, env_state: CounterState, action: PyTree, params: PyTree) -> StepResult:
        failed = action == 1
        total = jnp.where(failed, jnp.nan, env_state.total + env_state.start)
        state = CounterState(start=env_state.start, steps=env_state.steps + 1, total=total)
        # Both ends at once are left for the batch to tell apart, and the reward for it to make a float.
        return self.observe(state), state, jnp.asarray(2, jnp.int32), failed, state.steps >= 3, {"steps": state.steps}

    def observe(self, state: CounterState) -> PyTree:
        return {"start": state.start, "rest": jnp.stack([state.steps.astype(jnp.float32), state.total])}

    def observation_space(self, params: PyTree) -> Space:
        return Box(-jnp.inf, jnp.inf, (2,))

    def action_space(self, params: PyTree) -> Space:
        return Discrete(2)


def has_nan(tree: PyTree) -> bool:
    return any(bool(jnp.isnan(leaf).any()) for leaf in jax.tree.leaves(tree))


def assert_trees_equal(left: PyTree, right: PyTree) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_a_step_inside_an_episode_is_step_env() -> None:
    env = Counter()
    reset, step, step_env = jax.jit(env.reset), jax.jit(env.step), jax.jit(env.step_env)
    _, state = reset(jax.random.key(0), None)
    observation, after, _, terminated, truncated, info = step(jax.random.key(1), state, jnp.asarray(0), None)
    expected_observation, expected_state, *_ = step_env(jax.random.key(2), state, jnp.asarray(0), None)
    assert_trees_equal((observation, after), (expected_observation, expected_state))
    assert_trees_equal(info["final_observation"], expected_observation)
    assert int(info["steps"]) == 1
    assert not bool(terminated) and not bool(truncated)


@pytest.mark.parametrize(("steps", "action"), [(0, 1), (2, 0)], ids=["terminated", "truncated"])
def test_the_end_of_an_episode_starts_the_next(steps: int, action: int) -> None:
    env = Counter()
    reset, step, step_env = jax.jit(env.reset), jax.jit(env.step), jax.jit(env.step_env)
    _, state = reset(jax.random.key(0), None)
    state = state.replace(steps=jnp.asarray(steps, jnp.int32))
    final, *_ = step_env(jax.random.key(1), state, jnp.asarray(action), None)
    observation, after, _, terminated, truncated, info = step(jax.random.key(1), state, jnp.asarray(action), None)
    assert (bool(terminated), bool(truncated)) == (action == 1, steps == 2)
    assert_trees_equal(info["final_observation"], final)
    assert float(after.start) != float(state.start)
    assert int(after.steps) == 0
    assert_trees_equal(observation, env.observe(after))
    assert not has_nan((observation, after))


def test_environments_of_a_batch_end_and_start_apart() -> None:
    batch = Counter().vectorize(4)
    observation, state = jax.jit(batch.reset)(jax.random.key(0), None)
    assert len(set(observation["start"].tolist())) == 4
    state = state.replace(steps=jnp.asarray([0, 0, 2, 2], jnp.int32))
    actions = jnp.asarray([0, 1, 0, 1])
    observation, after, reward, terminated, truncated, info = jax.jit(batch.step)(
        jax.random.key(1), state, actions, None
    )
    assert terminated.tolist() == [False, True, False, True]
    assert truncated.tolist() == [False, False, True, False]  # a failure at the time limit is a failure
    assert reward.dtype == jnp.float32
    assert after.steps.tolist() == [1, 0, 0, 0]
    assert (after.start == state.start).tolist() == [True, False, False, False]
    assert len(set(after.start.tolist())) == 4
    assert not has_nan((observation, after))
    expected = jax.jit(jax.vmap(lambda s, a: Counter().step_env(jax.random.key(2), s, a, None)[0]))(state, actions)
    assert_trees_equal(info["final_observation"], expected)
    assert jnp.isnan(info["final_observation"]["rest"][:, 1]).tolist() == [False, True, False, True]


@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey], ids=["typed", "old-style"])
@pytest.mark.parametrize(
    "id", ["popgym::RepeatPreviousEasy", "popgym::NoisyPositionOnlyCartPoleEasy", "gymnax::CartPole-v1"]
)
def test_either_kind_of_key_serves(id: str, make_key: Any) -> None:
    env, params = make(id)
    batch = env.vectorize(2)
    first, state = jax.eval_shape(batch.reset, make_key(0), params)
    observation, after, *_ = jax.eval_shape(batch.step, make_key(1), state, jnp.zeros((2,), jnp.int32), params)
    assert (observation, after) == (first, state)


@pytest.mark.parametrize(
    "id", ["popgym::RepeatPreviousEasy", "popgym::PositionOnlyCartPoleEasy", "gymnax::CartPole-v1"]
)
def test_a_compiled_step_is_compiled_once(id: str) -> None:
    env, params = make(id)
    batch = env.vectorize(2)
    step = jax.jit(batch.step)
    _, state = jax.jit(batch.reset)(jax.random.key(0), params)
    for seed in range(3):
        _, state, *_ = step(jax.random.key(seed), state, jnp.zeros((2,), jnp.int32), params)
    assert step._cache_size() == 1


@pytest.mark.parametrize("ended", [0, 1, 2, 3, 8], ids=lambda ended: f"{ended} of 8 end")
def test_environments_that_end_share_the_fresh_states(ended: int) -> None:
    batch = OptimisticResets(Counter(), 3).vectorize(8)
    assert isinstance(batch, OptimisticVectorEnvironment)
    _, state = jax.jit(batch.reset)(jax.random.key(0), None)
    assert len(set(state.start.tolist())) == 8
    # Half of the ends are failures that leave NaN behind, half meet the time limit; they are spread over the batch.
    ends = np.random.default_rng(ended).permutation(8) < ended
    failed = ends & (np.arange(8) % 2 == 0)
    state = state.replace(steps=jnp.where(ends & ~failed, 2, 0).astype(jnp.int32))
    observation, after, reward, terminated, truncated, info = jax.jit(batch.step)(
        jax.random.key(1), state, jnp.asarray(failed, jnp.int32), None
    )
    np.testing.assert_array_equal(terminated, failed)
    np.testing.assert_array_equal(truncated, ends & ~failed)
    assert reward.dtype == jnp.float32
    assert_trees_equal(observation, jax.vmap(Counter().observe)(after))
    assert not has_nan((observation, after))
    np.testing.assert_array_equal(info["final_observation"]["start"], state.start)
    np.testing.assert_array_equal(jnp.isnan(info["final_observation"]["rest"][:, 1]), failed)
    np.testing.assert_array_equal(after.start[~ends], state.start[~ends])
    np.testing.assert_array_equal(after.steps, jnp.where(ends, 0, 1))
    starts = after.start[ends]
    assert not set(starts.tolist()) & set(state.start.tolist())
    times_used = sorted(np.unique(starts, return_counts=True)[1].tolist())
    assert times_used == {0: [], 1: [1], 2: [1, 1], 3: [1, 1, 1], 8: [2, 3, 3]}[ended]


def test_optimistic_resets_differ_from_step_to_step_and_map_over_seeds() -> None:
    batch = OptimisticResets(Counter(), 1).vectorize(2)

    def play(key: Array) -> Array:
        state = batch.reset(key, None)[1]
        failures = jnp.ones((2,), jnp.int32)
        return jax.lax.scan(lambda s, k: (batch.step(k, s, failures, None)[1],) * 2, state, jax.random.split(key, 4))[
            1
        ].start

    starts = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 3))  # (seed, step, environment)
    np.testing.assert_array_equal(starts[..., 0], starts[..., 1])
    assert len(set(starts[..., 0].ravel().tolist())) == 12


def test_optimistic_resets_are_an_option_of_every_environment() -> None:
    env, _ = make("gymnax::CartPole-v1", optimistic_resets=2, mask_observation=(0, 2))
    batch = env.vectorize(4)
    assert isinstance(batch, TransformedVectorEnvironment)
    assert isinstance(batch.inner, OptimisticVectorEnvironment) and batch.inner.num_fresh_states == 2
    assert type(env.env.vectorize(2)) is VectorEnvironment
    assert type(OptimisticResets(env, 0).vectorize(4)) is VectorEnvironment
    with pytest.raises(ValueError, match=r"^optimistic_resets \(-1\) must be how many first states to draw per step"):
        OptimisticResets(env, -1)


class Drawn(Counter):
    """Drawn as one gray whose brightness is the number of steps."""

    def render(self, env_state: PyTree, params: PyTree) -> np.ndarray:
        return np.full((2, 3, 3), int(env_state.steps), np.uint8)


def test_an_environment_says_whether_it_can_be_drawn() -> None:
    _, state = Counter().reset(jax.random.key(0), None)
    assert Drawn().renders
    assert Drawn().render(state, None).shape == (2, 3, 3)
    assert not Counter().renders
    with pytest.raises(ValueError) as raised:
        Counter().render(state, None)
    assert str(raised.value).startswith("Counter cannot be drawn: it has no method render(env_state, params)")
