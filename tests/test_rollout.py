"""What a rollout records, step for step."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Dict, Discrete
from memorax.rollout import Worker, rollout, start
from memorax.types import Timestep, Trajectory


@dataclass(frozen=True)
class Counter(Environment):
    """Shows how many steps it has taken; odd episodes terminate after 3 steps, even ones are truncated after 5."""

    def reset(self, key, params):
        even = jax.random.bernoulli(key)
        return self.observe(jnp.zeros(()), even), (jnp.zeros(()), even)

    def observe(self, count, even):
        return {"count": count[None], "even": even.astype(jnp.int32)}

    def step_env(self, key, env_state, action, params):
        count, even = env_state[0] + 1, env_state[1]
        terminated, truncated = ~even & (count == 3), even & (count == 5)
        return self.observe(count, even), (count, even), 10 * count + action, terminated, truncated, {"count": count}

    def observation_space(self, params):
        return Dict({"count": Box(0, 5, (1,)), "even": Discrete(2)})

    def action_space(self, params):
        return Discrete(7)


def counting_policy(key, timestep: Timestep, carry):
    """Acts by how many timesteps it has seen since the reset, which is its carry."""
    carry = jnp.where(timestep.done, 0, carry) + 1
    return carry, carry % 7, {"carry": carry}


def run(num_steps: int, sequence_length: int | None = None, seed: int = 0) -> tuple[Worker, Worker, Trajectory]:
    env = Counter().vectorize(4)
    worker = start(jax.random.key(seed), env, None, lambda timestep: jnp.full((4,), 50))
    after, trajectory = rollout(env, None, counting_policy, worker, jax.random.key(1), num_steps, sequence_length)
    return worker, after, trajectory


def test_each_step_is_recorded_where_it_belongs() -> None:
    _, after, trajectory = run(40)
    timesteps, done = trajectory.timesteps, np.asarray(trajectory.done)
    count = np.asarray(timesteps.observation["count"][..., 0])
    assert trajectory.reward.shape == (4, 40)
    assert done.any(axis=1).all() and np.asarray(trajectory.truncated).any() and np.asarray(trajectory.terminated).any()
    # The first observation of an episode is marked, and nothing is remembered of the step before it.
    np.testing.assert_array_equal(timesteps.done[:, 0], True)
    np.testing.assert_array_equal(timesteps.done[:, 1:], done[:, :-1])
    np.testing.assert_array_equal(count == 0, timesteps.done)
    np.testing.assert_array_equal(timesteps.action[:, 1:], np.where(done, 0, trajectory.action)[:, :-1])
    np.testing.assert_array_equal(timesteps.reward[:, 1:], np.where(done, 0, trajectory.reward)[:, :-1])
    # Rewards and final observations belong to the step that led to them, ends to the step that made them.
    np.testing.assert_array_equal(trajectory.reward, 10 * (count + 1) + np.asarray(trajectory.action))
    np.testing.assert_array_equal(trajectory.final_observation["count"][..., 0], count + 1)
    even = np.asarray(timesteps.observation["even"], bool)
    np.testing.assert_array_equal(trajectory.terminated, ~even & (count == 2))
    np.testing.assert_array_equal(trajectory.truncated, even & (count == 4))
    # The policy saw the reset exactly where the episode began.
    np.testing.assert_array_equal(trajectory.extras["carry"], count + 1)
    np.testing.assert_array_equal(after.timestep.done, done[:, -1])


def test_episode_statistics() -> None:
    _, _, trajectory = run(40)
    info, done, reward = trajectory.info, np.asarray(trajectory.done), np.asarray(trajectory.reward)
    np.testing.assert_array_equal(info["returned_episode"], done)
    for b in range(4):
        begin, last = 0, (0.0, 0)
        for t in range(40):
            if done[b, t]:
                last = (reward[b, begin : t + 1].sum(), t + 1 - begin)
                begin = t + 1
            assert (info["returned_episode_returns"][b, t], info["returned_episode_lengths"][b, t]) == last
    assert "count" in info and "final_observation" not in info


def test_two_rollouts_continue_each_other() -> None:
    env = Counter().vectorize(4)
    worker = start(jax.random.key(0), env, None, lambda timestep: jnp.full((4,), 50))
    middle, first = rollout(env, None, counting_policy, worker, jax.random.key(1), 7)
    _, second = rollout(env, None, counting_policy, middle, jax.random.key(2), 7)
    np.testing.assert_array_equal(second.timesteps.observation["count"][:, 0], first.next_timestep.observation["count"])
    np.testing.assert_array_equal(second.timesteps.action[:, 0], jnp.where(first.done[:, -1], 0, first.action[:, -1]))
    np.testing.assert_array_equal(second.carry[:, 0], first.extras["carry"][:, -1])


def test_the_carry_is_recorded_before_each_sequence() -> None:
    _, _, trajectory = run(24, sequence_length=6)
    after_each_step = np.asarray(trajectory.extras["carry"])
    assert trajectory.carry.shape == (4, 4)
    np.testing.assert_array_equal(trajectory.carry[:, 0], 50)
    np.testing.assert_array_equal(trajectory.carry[:, 1:], after_each_step[:, 5:-1:6])
    _, _, whole = run(24)
    np.testing.assert_array_equal(np.asarray(whole.reward), np.asarray(trajectory.reward))


class Bounded(Counter):
    """Rewards the action it was given."""

    def step_env(self, key, env_state, action, params):
        observation, state, _, terminated, truncated, info = super().step_env(key, env_state, 0, params)
        return observation, state, action.sum(), terminated, truncated, info

    def action_space(self, params):
        return Box(-1.0, jnp.asarray([1.0, 0.5]), (2,))


def test_continuous_actions_are_brought_into_their_range_for_the_environment_only() -> None:
    env = Bounded().vectorize(4)
    worker = start(jax.random.key(0), env, None, lambda timestep: ())
    wild = jnp.asarray([3.0, -0.25])

    def policy(key, timestep, carry):
        return carry, jnp.broadcast_to(wild, (4, 2)), {}

    _, trajectory = rollout(env, None, policy, worker, jax.random.key(1), 5)
    np.testing.assert_array_equal(trajectory.reward, 1.0 + (-1.0 + 0.375 * 1.5))  # 0.375 of the way from -1 to 0.5
    np.testing.assert_array_equal(trajectory.action, np.broadcast_to(wild, (4, 5, 2)))
    np.testing.assert_array_equal(trajectory.timesteps.action[:, 1], np.broadcast_to(wild, (4, 2)))


class Halved(Counter):
    """Gives half the reward and reports the whole."""

    def step_env(self, key, env_state, action, params):
        observation, state, reward, *ends, info = super().step_env(key, env_state, action, params)
        return observation, state, reward / 2, *ends, {**info, "raw_reward": reward}


def test_episode_statistics_count_the_raw_reward() -> None:
    def play(env):
        batch = env.vectorize(4)
        worker = start(jax.random.key(0), batch, None, lambda timestep: jnp.full((4,), 50))
        return rollout(batch, None, counting_policy, worker, jax.random.key(1), 20)[1]

    halved, plain = play(Halved()), play(Counter())
    np.testing.assert_array_equal(2 * halved.reward, plain.reward)
    np.testing.assert_array_equal(halved.info["returned_episode_returns"], plain.info["returned_episode_returns"])
