"""Steps a policy in a batch of environments; nothing else in the library does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from memorax.environments.environment import VectorEnvironment
from memorax.environments.spaces import environment_action, policy_space
from memorax.sharding import spread_over_devices
from memorax.types import Array, Carry, Key, PyTree, Timestep, Trajectory, where

Policy = Callable[[Key, Timestep, Carry], tuple[Carry, PyTree, PyTree]]
"""`(key, timestep [B, ...], carry) -> (carry, action [B, ...], extras)`; extras are recorded for learning."""


class Worker(struct.PyTreeNode):
    """Where a policy stands in its environments: leaves `[B, ...]`.

    Attributes:
        env_state: the environments' state.
        timestep: next timestep of the policy's network.
        carry: the policy's carry before that timestep.
        episode_return, episode_length: return and length of the running episodes so far.
        returned_episode_return, returned_episode_length: return and length of the episodes that ended last, zero before
            the first.
    """

    env_state: PyTree
    timestep: Timestep
    carry: Carry
    episode_return: Array
    episode_length: Array
    returned_episode_return: Array
    returned_episode_length: Array


def first_timestep(env: VectorEnvironment, params: PyTree, observation: PyTree) -> Timestep:
    """The timestep that opens an episode in every environment: no previous action, no previous reward."""
    action = jax.eval_shape(policy_space(env.env.action_space(params)).sample, jax.random.key(0))
    return Timestep(
        observation=observation,
        action=jax.tree.map(lambda a: jnp.zeros((env.batch_size, *a.shape), a.dtype), action),
        reward=jnp.zeros((env.batch_size,), jnp.float32),
        done=jnp.ones((env.batch_size,), bool),
    )


def start(key: Key, env: VectorEnvironment, params: PyTree, initial_carry: Callable[[Timestep], Carry]) -> Worker:
    """Reset every environment.

    Args:
        key: random key.
        env: the environments.
        params: parameters of the environments.
        initial_carry: the policy's carry at the start of an episode, given the first timestep.
    """
    observation, env_state = env.reset(key, params)
    timestep = first_timestep(env, params, observation)
    zeros = jnp.zeros((env.batch_size,), jnp.float32)
    counts = jnp.zeros((env.batch_size,), jnp.int32)
    return Worker(env_state, timestep, initial_carry(timestep), zeros, counts, zeros, counts)


def rollout(
    env: VectorEnvironment,
    params: PyTree,
    policy: Policy,
    worker: Worker,
    key: Key,
    num_steps: int,
    sequence_length: int | None = None,
) -> tuple[Worker, Trajectory]:
    """Step every environment `num_steps` times with a policy.

    Args:
        env: the environments.
        params: parameters of the environments.
        policy: function that chooses the actions.
        worker: place in the environments to continue from.
        key: random key.
        num_steps: steps per environment, `T`.
        sequence_length: the policy's carry is kept before every `sequence_length`-th step, so that the rollout can
            be learned from as `C = num_steps // sequence_length` sequences; by default once.

    Returns:
        `(worker, trajectory)`. Actions are recorded as the policy chose them, in the units of `policy_space`, and
        brought into those of the environment (and within its bounds) for the environment only. Time limits never
        terminate: see `Trajectory.final_observation`.
    """
    space = env.env.action_space(params)

    def step(worker: Worker, key: Key) -> tuple[Worker, dict[str, Any]]:
        policy_key, env_key = jax.random.split(key)
        carry, action, extras = policy(policy_key, worker.timestep, worker.carry)
        action = jax.tree.map(lambda new, old: new.astype(old.dtype), action, worker.timestep.action)
        observation, env_state, reward, terminated, truncated, info = env.step(
            env_key, worker.env_state, environment_action(space, action), params
        )
        info = dict(info)
        final_observation = info.pop("final_observation")
        done = terminated | truncated
        no_action, no_reward = jax.tree.map(jnp.zeros_like, (action, reward))
        previous_action, previous_reward = where(done, (no_action, no_reward), (action, reward))
        episode_return = worker.episode_return + info.get("raw_reward", reward)
        episode_length = worker.episode_length + 1
        returned_return = jnp.where(done, episode_return, worker.returned_episode_return)
        returned_length = jnp.where(done, episode_length, worker.returned_episode_length)
        info["returned_episode"] = done
        info["returned_episode_returns"] = returned_return
        info["returned_episode_lengths"] = returned_length
        after = Worker(
            env_state=env_state,
            timestep=Timestep(observation, previous_action, previous_reward, done),
            carry=carry,
            episode_return=jnp.where(done, 0.0, episode_return),
            episode_length=jnp.where(done, 0, episode_length),
            returned_episode_return=returned_return,
            returned_episode_length=returned_length,
        )
        return spread_over_devices(after), {
            "timesteps": worker.timestep,
            "action": action,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "final_observation": final_observation,
            "extras": extras,
            "info": info,
        }

    def sequence(worker: Worker, keys: Key) -> tuple[Worker, tuple[Carry, dict[str, Any]]]:
        after, steps = jax.lax.scan(step, worker, keys)
        return after, (worker.carry, steps)

    length = sequence_length or num_steps
    keys = jax.random.split(key, (num_steps // length, length))
    worker, (carries, steps) = jax.lax.scan(sequence, worker, keys)
    carries = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), carries)  # (B, C, ...)
    steps = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(num_steps, *x.shape[2:]), 0, 1), steps)  # (B, T, ...)
    return worker, Trajectory(**steps, carry=carries, next_timestep=worker.timestep)
