"""The best score with memory is reached, and the best without is never passed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memorax
from memorax.environments.memory import ids
from memorax.environments.memory.t_maze import CORRIDOR, DOWN, JUNCTION, LEFT, RIGHT, SIGN_UP, UP
from memorax.rollout import Policy, rollout, start
from memorax.types import Array, Timestep, Trajectory, where

NUM_ENVS = 256


class Task(NamedTuple):
    """A small task: its id and options, how it is played best, the carry that starts with, and how long it lasts."""

    id: str
    options: dict[str, Any]
    best: Callable[[Timestep, Any], tuple[Any, Array]]
    carry: Any
    length: int


def recall_horizon(timestep: Timestep, cue: Array) -> tuple[Array, Array]:
    mark, symbol = timestep.observation[:, 0], timestep.observation[:, 1]
    cue = jnp.where(mark == 1, symbol, cue)
    return cue, cue


def memory_chain(timestep: Timestep, bits: Array) -> tuple[Array, Array]:
    shown, query = timestep.observation[:, 2:], timestep.observation[:, 1].astype(jnp.int32)
    bits = where(timestep.done, (shown > 0).astype(jnp.int32), bits)
    return bits, jnp.take_along_axis(bits, query[:, None], axis=1)[:, 0]


def delayed_match_to_sample(timestep: Timestep, sample: Array) -> tuple[Array, Array]:
    sample = jnp.where(timestep.done, timestep.observation, sample)
    return sample, (timestep.observation == sample).astype(jnp.int32)


def associative_recall(timestep: Timestep, values: Array) -> tuple[Array, Array]:
    key, value = timestep.observation[:, 0] - 1, timestep.observation[:, 1]
    rows = jnp.arange(len(key))
    values = values.at[rows, key].set(jnp.where(value > 0, value - 1, values[rows, key]))
    return values, values[rows, key]


def t_maze(timestep: Timestep, sign: Array) -> tuple[Array, Array]:
    observation = timestep.observation
    sign = jnp.where((observation != CORRIDOR) & (observation != JUNCTION), observation, sign)
    turn = jnp.where(sign == SIGN_UP, UP, DOWN)
    looks_for_the_sign = timestep.done & (observation == CORRIDOR)
    return sign, jnp.where(observation == JUNCTION, turn, jnp.where(looks_for_the_sign, LEFT, RIGHT))


TASKS = [
    Task("RecallHorizon-8", {"horizon": 6, "num_symbols": 3}, recall_horizon, jnp.zeros(NUM_ENVS, int), 7),
    Task("MemoryChain", {"memory_length": 5, "num_bits": 3}, memory_chain, jnp.zeros((NUM_ENVS, 3), int), 6),
    Task("DelayedMatchToSample", {"delay": 3, "num_symbols": 4}, delayed_match_to_sample, jnp.zeros(NUM_ENVS, int), 5),
    Task("AssociativeRecall", {"num_pairs": 3}, associative_recall, jnp.zeros((NUM_ENVS, 3), int), 6),
    Task("TMaze", {"length": 4}, t_maze, jnp.zeros(NUM_ENVS, int), 5),
    Task("ActiveTMaze", {"length": 4}, t_maze, jnp.zeros(NUM_ENVS, int), 7),
]


def play(task: Task, policy: Policy, num_steps: int) -> Trajectory:
    env, params = memorax.make(f"memory::{task.id}", **task.options)
    batch = env.vectorize(NUM_ENVS)

    @jax.jit
    def run(key: Array) -> Trajectory:
        worker = start(key, batch, params, lambda timestep: task.carry)
        return rollout(batch, params, policy, worker, key, num_steps)[1]

    return jax.device_get(run(jax.random.key(0)))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_memory_reaches_the_best_return_in_every_episode(task: Task) -> None:
    trajectory = play(task, lambda key, timestep, carry: (*task.best(timestep, carry), {}), 2 * task.length)
    env, _ = memorax.make(f"memory::{task.id}", **task.options)
    ended = trajectory.info["returned_episode"]
    np.testing.assert_array_equal(
        ended, np.broadcast_to(np.arange(1, 2 * task.length + 1) % task.length == 0, ended.shape)
    )
    np.testing.assert_allclose(trajectory.info["returned_episode_returns"][ended], env.best_return, atol=1e-6)
    assert not trajectory.truncated.any()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_what_is_seen_where_an_answer_is_due_says_nothing_about_it(task: Task) -> None:
    """Whatever is seen when an action is rewarded, no action is worth more than a guess."""
    env, params = memorax.make(f"memory::{task.id}", **task.options)
    space = env.action_space(params)

    def policy(key: Array, timestep: Timestep, carry: Any) -> Any:
        action = jax.vmap(space.sample)(jax.random.split(key, NUM_ENVS))
        if "TMaze" in task.id:  # hurry to the junction
            action = jnp.where(timestep.observation == JUNCTION, UP + action % 2, RIGHT)
        return carry, action, {}

    trajectory = play(task, policy, 5 * task.length)
    seen = np.concatenate(
        [
            trajectory.timesteps.observation.reshape(NUM_ENVS * 5 * task.length, -1),
            trajectory.action.reshape(-1, 1),
        ],
        axis=1,
    )
    rewards = trajectory.reward.ravel()
    due = rewards != 0
    if "TMaze" in task.id:  # a wrong turn is rewarded with nothing
        due = seen[:, 0] == JUNCTION
    cases, index = np.unique(seen[due], axis=0, return_inverse=True)
    assert len(cases) >= 2
    for case in range(len(cases)):
        sample = rewards[due][index.ravel() == case]
        guess = env.best_memoryless_return
        assert abs(sample.mean() - guess) < 4 * sample.std() / np.sqrt(len(sample)), cases[case]


def test_a_t_maze_ends_in_time_and_costs_1_where_no_way_is_made() -> None:
    for active, steps in ((False, 5), (True, 7)):
        env, params = memorax.make("memory::TMaze", length=4, active=active)
        step = jax.jit(env.step_env)
        for actions, expected in (([LEFT] * steps, -1.0), ([RIGHT] * steps, 0.0)):
            _, state = env.reset(jax.random.key(0), params)
            rewards, ends = [], []
            for action in actions:
                _, state, reward, terminated, _, _ = step(jax.random.key(0), state, jnp.asarray(action), params)
                rewards.append(float(reward))
                ends.append(bool(terminated))
            assert sum(rewards) == pytest.approx(expected)
            assert ends == [False] * (steps - 1) + [True]


def test_the_horizon_is_in_the_name_and_an_option() -> None:
    assert memorax.make("memory::RecallHorizon-512")[1].horizon == 512
    assert memorax.make("memory::RecallHorizon-8", horizon=100)[1].horizon == 100


def test_horizons_may_differ_within_a_batch() -> None:
    env, params = memorax.make("memory::RecallHorizon-8")
    horizons = params.replace(horizon=jnp.asarray([1, 2, 5]))
    play = jax.vmap(
        lambda params: jax.lax.scan(
            lambda state, key: (env.step_env(key, state, 0, params)[1], env.step_env(key, state, 0, params)[3]),
            env.reset(jax.random.key(0), params)[1],
            jax.random.split(jax.random.key(1), 6),
        )[1]
    )
    np.testing.assert_array_equal(jax.jit(play)(horizons).argmax(axis=1), [1, 2, 5])


@pytest.mark.parametrize("id", [name for name in ids() if name in ("RecallHorizon-8",) or "-" not in name])
def test_every_task_is_drawn(id: str) -> None:
    env, params = memorax.make(f"memory::{id}")
    _, state = env.reset(jax.random.key(0), params)
    first = env.render(state, params)
    assert first.shape == (160, 240, 3) and first.dtype == np.uint8
    _, state, *_ = jax.jit(env.step_env)(jax.random.key(1), state, jnp.asarray(1), params)
    assert (env.render(state, params) != first).any()


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("RecallHorizon-8", {"horizon": 0}, "horizon (0) must be an integer of at least 1"),
        ("RecallHorizon-8", {"num_symbols": 1}, "num_symbols (1) must be an integer of at least 2"),
        ("MemoryChain", {"num_bits": 2.0}, "num_bits (2.0) must be an integer of at least 1"),
        ("DelayedMatchToSample", {"delay": -1}, "delay (-1) must be an integer of at least 0"),
        ("AssociativeRecall", {"num_pairs": True}, "num_pairs (True) must be an integer of at least 1"),
        ("TMaze", {"active": 1}, "active (1) must be True or False"),
    ],
)
def test_sizes_that_make_no_task_are_refused(id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        memorax.make(f"memory::{id}", **options)
    assert str(raised.value) == message
