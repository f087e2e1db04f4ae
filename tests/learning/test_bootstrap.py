"""Values along a rollout against stepping through it by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memorax.learning.bootstrap import values_along
from memorax.testing import check_close
from memorax.types import Timestep, Trajectory

DECAY = 0.7


def leaky_sum(params: object, timesteps: Timestep, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A network whose value is its carry: a leaky sum of everything it has seen since the reset."""

    def step(carry: jax.Array, timestep: Timestep) -> tuple[jax.Array, jax.Array]:
        carry = jnp.where(timestep.done, 0.0, carry)
        carry = DECAY * carry + timestep.observation + 0.1 * timestep.action + 0.01 * timestep.reward
        return carry, carry

    time_first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), timesteps)
    carry, values = jax.lax.scan(step, carry, time_first)
    return carry, jnp.moveaxis(values, 0, 1)


evaluate = jax.jit(
    lambda trajectory, carry, length: values_along(leaky_sum, (), trajectory, carry, length), static_argnums=2
)


def random_trajectory(rng: np.random.Generator, num_envs: int, num_steps: int, ends: float) -> Trajectory:
    def normal() -> np.ndarray:
        return rng.normal(size=(num_envs, num_steps)).astype(np.float32)

    ended = rng.random((num_envs, num_steps)) < ends
    truncated = ended & (rng.random((num_envs, num_steps)) < 0.6)
    action, reward, observation = normal(), normal(), normal()
    first = rng.random((num_envs, 1)) < 0.5
    done = np.concatenate([first, ended], axis=1)
    seen = Timestep(
        observation=np.concatenate([observation, normal()[:, :1]], axis=1),
        action=np.where(done, 0, np.concatenate([normal()[:, :1], action], axis=1)),
        reward=np.where(done, 0, np.concatenate([normal()[:, :1], reward], axis=1)),
        done=done,
    )
    seen = jax.tree.map(jnp.asarray, seen)
    return Trajectory(
        timesteps=jax.tree.map(lambda x: x[:, :-1], seen),
        action=jnp.asarray(action),
        reward=jnp.asarray(reward),
        terminated=jnp.asarray(ended & ~truncated),
        truncated=jnp.asarray(truncated),
        final_observation=jnp.asarray(normal()),
        extras={},
        info={},
        carry=jnp.zeros((num_envs, 1)),
        next_timestep=jax.tree.map(lambda x: x[:, -1], seen),
    )


def by_hand(trajectory: Trajectory, carry: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(final carry, values, next values)` by stepping one environment after the other, in float64."""
    num_envs, num_steps = trajectory.reward.shape
    t, nxt = jax.tree.map(np.float64, (trajectory.timesteps, trajectory.next_timestep))
    values, next_values, carries = np.zeros((num_envs, num_steps)), np.zeros((num_envs, num_steps)), np.zeros(num_envs)
    for b in range(num_envs):
        state = float(carry[b])
        for i in range(num_steps):
            state = 0.0 if t.done[b, i] else state
            state = DECAY * state + t.observation[b, i] + 0.1 * t.action[b, i] + 0.01 * t.reward[b, i]
            values[b, i] = state
            if trajectory.truncated[b, i]:
                final, action, reward = (
                    float(x[b, i]) for x in (trajectory.final_observation, trajectory.action, trajectory.reward)
                )
                next_values[b, i] = DECAY * state + final + 0.1 * action + 0.01 * reward
        carries[b] = state
        state = 0.0 if nxt.done[b] else state
        following = np.append(
            values[b, 1:], DECAY * state + nxt.observation[b] + 0.1 * nxt.action[b] + 0.01 * nxt.reward[b]
        )
        next_values[b] = np.where(trajectory.truncated[b], next_values[b], following)
    return carries, values, next_values


@pytest.mark.parametrize("sequence_length", [24, 6, 1])
@pytest.mark.parametrize("ends", [0.0, 0.05, 0.5, 1.0])
def test_values_and_successors_equal_stepping_by_hand(ends: float, sequence_length: int) -> None:
    rng = np.random.default_rng(int(ends * 100))
    for _ in range(20):
        trajectory = random_trajectory(rng, 3, 24, ends)
        carry = rng.normal(size=3).astype(np.float32)
        final_carry, carries, values, next_values = evaluate(trajectory, jnp.asarray(carry), sequence_length)
        expected = by_hand(trajectory, carry)
        for got, want in zip((final_carry, values, next_values), expected, strict=True):
            check_close(got, want)
        before = np.concatenate([carry[:, None], expected[1]], axis=1)[:, :-1:sequence_length]
        check_close(carries, before)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), ends=st.floats(0, 1), num_steps=st.sampled_from([1, 2, 9]))
def test_any_pattern_of_ends(seed: int, ends: float, num_steps: int) -> None:
    rng = np.random.default_rng(seed)
    trajectory = random_trajectory(rng, 2, num_steps, ends)
    carry = rng.normal(size=2).astype(np.float32)
    final_carry, _, values, next_values = evaluate(trajectory, jnp.asarray(carry), num_steps)
    for got, want in zip((final_carry, values, next_values), by_hand(trajectory, carry), strict=True):
        check_close(got, want)


def test_maps_over_seeds_whose_episodes_end_differently() -> None:
    rng = np.random.default_rng(0)
    trajectories = [random_trajectory(rng, 2, 16, ends) for ends in (0.0, 0.3, 1.0)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *trajectories)
    carry = jnp.ones((3, 2))
    mapped = jax.vmap(lambda t, c: values_along(leaky_sum, (), t, c, 16)[3])(stacked, carry)
    for trajectory, got in zip(trajectories, mapped, strict=True):
        check_close(got, by_hand(trajectory, np.ones(2))[2])
